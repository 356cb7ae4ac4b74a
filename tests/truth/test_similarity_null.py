"""P-values of similarities are valid on simulated maps, and planted modules are found."""

import pytest

from cellassets.studies.similarity_calibration import MAPS, run_similarity_study, similarity_section

QUICK = ("16 dimensions", "128 dimensions, 50% in modules", "effects in 20 of 128 dimensions")
SHARED = ("a shared direction, half as long",)


@pytest.fixture(scope="module")
def study(n_of):
    maps = tuple(one for one in MAPS if one.name in (*QUICK, *SHARED))
    return run_similarity_study(n_of(1500, 0.07), sizes=(100, 1000), maps=maps)


def test_p_values_of_unrelated_pairs_are_not_too_small(study):
    for row in study.iter_rows(named=True):
        assert row["called_frac_0.05"] <= 0.06, row
        assert row["called_frac_0.01"] <= 0.015, row
        assert row["fdr"] <= 0.16, row


def test_modules_are_found_where_the_plain_form_finds_them(study):
    found = {row["map"]: row["power"] for row in study.iter_rows(named=True) if row["n_partners"] == 1000}
    assert found["128 dimensions, 50% in modules"] > 0.9
    assert found["effects in 20 of 128 dimensions"] > 0.4


def test_the_plain_form_is_not_calibrated_where_there_are_few_dimensions(study):
    rows = {(row["map"], row["n_partners"]): row for row in study.iter_rows(named=True)}
    few = rows["16 dimensions", 1000]
    assert few["normal_fdr"] > few["fdr"] + 0.05


def test_the_section_marks_what_is_too_often(study):
    assert "**" in similarity_section(study)
