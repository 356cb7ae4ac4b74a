"""Coverage is counted to the letter, and names in another letter case are said."""

import polars as pl
import pytest

from cellassets.knowledge.annotation_files import COLUMNS, Source
from cellassets.knowledge.coverage import Coverage, coverage


def source(kind, *rows):
    return Source("x", kind, pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS[kind], pl.String), orient="row"))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # A-B is whole; C is named with a gene that the dataset lacks
        (source("pairs", ("A", "B"), ("C", "X")), Coverage(4, 3, 1, ("d",))),
        (source("sets", ("S1", "A"), ("S1", "D"), ("S2", "C")), Coverage(4, 2, 2, ("d",))),
        (source("gene_arms", ("A", "1p"), ("X", "2q")), Coverage(4, 1, 1, ())),
        # two compounds and four genes; drug1-A is whole, drug2-Y and Drug2-B are not
        (source("targets", ("drug1", "A"), ("drug2", "Y"), ("other", "B")), Coverage(6, 4, 1, ())),
    ],
)
def test_names_and_rows_are_counted(found, expected):
    if found.kind == "pairs":
        found = source("pairs", *found.rows.rows(), ("D", "E"))
    assert coverage(found, {"A", "B", "C", "d"}, {"drug1", "drug2"}) == expected


def test_an_empty_dataset_is_covered_by_nothing():
    assert coverage(source("pairs", ("A", "B")), set()) == Coverage(0, 0, 0, ())
