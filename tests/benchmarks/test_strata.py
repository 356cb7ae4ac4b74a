"""Which units may exchange names: those whose wells are on the same plates."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.definition import NameParameters
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.strata import plate_strata, strata_of
from cellassets.errors import NotApplicable


def strata(plates):
    """The strata of units, numbered by their first unit; `plates` has the plates of each unit's wells."""
    names = [f"u{number}" for number in range(len(plates))]
    labels = np.repeat(names, [len(wells) for wells in plates])
    plate = np.array([place for wells in plates for place in wells])
    found = strata_of(labels, plate, np.ones(len(plate), dtype=bool), names)
    return [found.tolist().index(number) for number in found]


def test_units_that_share_one_of_two_plates_are_not_exchanged():
    assert strata([(0, 1), (0, 2), (0, 3)]) == [0, 1, 2]


def test_units_on_the_same_plates_are_exchanged():
    assert strata([(0, 1), (2, 3), (1, 0), (3, 2), (0, 2)]) == [0, 1, 0, 1, 4]


def test_a_unit_that_lost_one_of_five_wells_stays_with_the_others():
    assert strata([(0, 1, 2, 3, 4), (0, 1, 2, 3, 4), (0, 1, 2, 3)]) == [0, 0, 0]
    assert strata([(0, 1, 2, 3), (0, 1, 2, 3), (0, 1, 2)]) == [0, 0, 2]  # it shares three quarters
    assert strata([(0, 1, 2, 3, 4), (0, 1, 2, 3, 5)]) == [0, 0]
    assert strata([(0, 1, 2, 3, 4), (0, 1, 2, 5, 6)]) == [0, 1]


def test_five_units_that_lost_the_same_well_are_exchanged_with_each_other_only():
    every, most = (0, 1, 2, 3, 4), (0, 1, 2, 3)
    assert strata([every] * 12 + [most] * 4) == [0] * 16
    assert strata([every] * 12 + [most] * 5) == [0] * 12 + [12] * 5


def test_numbers_of_wells_count():
    assert strata([(0, 0), (0, 0), (0,), (0,), (0, 0, 0, 0)]) == [0, 0, 2, 2, 4]


def test_wells_that_do_not_count_are_left_out():
    labels, plate = np.array(["a", "b", "a"]), np.array([0, 0, 1])
    found = strata_of(labels, plate, np.array([True, True, False]), ["a", "b"])
    assert found[0] == found[1]


def scattered(judge):
    """A map in which every gene is on a plate of its own in each of two batches."""
    judged = judge(seed=8, n_batches=2, n_plates_per_batch=1, n_complexes=3, n_lone_genes=3)
    unit = np.unique(judged.units, return_inverse=True)[1]
    return replace(judged, plate_index=judged.plate_index + 2 * unit)


def test_in_random_layouts_units_of_the_same_batches_may_be_exchanged(judge):
    judged = scattered(judge)
    genes = judged.map_table.filter(pl.col("control_kind").is_null())["perturbation_id"].to_list()
    assert len(np.unique(plate_strata(judged, genes))) == len(genes)
    assert len(np.unique(plate_strata(judged, genes, NameParameters(exchange_within="batches")))) == 1


def test_without_two_genes_on_the_same_plates_there_is_no_null_distribution(judge):
    judged, chosen = scattered(judge), BENCHMARKS["known_relationships"]
    with pytest.raises(NotApplicable, match=r"no two of 12 genes have their wells on the same plates.*exchange_within"):
        chosen.score(judged, chosen.parameters(n_permutations=99))
    rows = chosen.score(judged, chosen.parameters(n_permutations=99, exchange_within="batches"))
    assert rows[0].metric == "recall"
