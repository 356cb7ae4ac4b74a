"""Maps, scores, leaderboard, gate decisions and report numbers of simulated wells are what they were, to the last bit.

Values are stored in data/; `write_golden.py` says how and when to write them again, `driver.py` what they are made of.
"""

from cellassets.benchmarks.registry import BENCHMARKS

SET = "simulated"
# the simulated screen has no positive controls and five compounds; test_code_versions.py holds these numbers
DO_NOT_APPLY = {"positive_controls", "rxrx3_core_targets"}


def test_every_number_of_a_table_is_the_stored_one_to_the_last_bit(table_name, differences):
    found = differences(table_name)
    assert not found, "\n".join(found)


def test_the_tables_made_now_are_those_that_are_stored(table_names):
    stored, found = table_names
    assert stored == found


def test_every_benchmark_of_the_catalogue_has_stored_scores(table_names):
    stored, _ = table_names
    assert {name for name in BENCHMARKS if f"scores_{name}" not in stored} == DO_NOT_APPLY
