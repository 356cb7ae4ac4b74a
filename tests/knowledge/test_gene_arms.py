"""The table of chromosome arms that alignment reads."""

import pytest
from upath import UPath

from cellassets.errors import AlignmentError
from cellassets.knowledge.annotations import read_annotations
from cellassets.knowledge.gene_arms import gene_arms_path, read_gene_arms

TABLE = "gene_symbol,chromosome_arm,is_expressed\nTP53,17p,true\nEGFR,7p,false\n"


def test_all_columns_are_kept_as_the_file_has_them(tmp_path):
    (tmp_path / "gene_arms.csv").write_text(TABLE)
    table = read_gene_arms(UPath(tmp_path))
    assert gene_arms_path(UPath(tmp_path)).name == "gene_arms.csv"
    assert table.rows() == [("TP53", "17p", True), ("EGFR", "7p", False)]


def test_the_same_file_is_an_annotation_source_of_arms(tmp_path):
    (tmp_path / "gene_arms.csv").write_text(TABLE)
    found = read_annotations(UPath(tmp_path), ("gene_arms",))
    assert found.arm_of_gene() == {"TP53": "17p", "EGFR": "7p"}


def test_a_missing_table_is_refused_with_what_is_expected(tmp_path):
    with pytest.raises(AlignmentError, match=r"gene_arms\.csv: no such file; the step chromosome_arm reads it: a CSV"):
        read_gene_arms(UPath(tmp_path))
