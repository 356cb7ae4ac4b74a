"""Manifest, store, quality and classical features of a simulated screen are what they were, to the last bit.

Values are stored in data/; `write_golden.py` says how and when to write them again, `driver.py` what they are made of.
"""

SET = "screen"


def test_every_number_of_a_table_is_the_stored_one_to_the_last_bit(table_name, differences):
    found = differences(table_name)
    assert not found, "\n".join(found)


def test_the_tables_made_now_are_those_that_are_stored(table_names):
    stored, found = table_names
    assert stored == found
