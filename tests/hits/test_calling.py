"""Hits: one row per perturbation, active at the stated rate, with a reason where it could not be tested."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.registry import find_benchmark
from cellassets.hits.activity import units_tested
from cellassets.hits.calling import FEW_CONTROLS, FEW_WELLS, NOT_COMPARED, call_hits, least_n_active
from cellassets.hits.parameters import HitParameters
from cellassets.hits.restricted import only_units
from cellassets.statistics.permutation import benjamini_hochberg

PARAMETERS = HitParameters(n_permutations=999)


@pytest.fixture(scope="module")
def hits(judged, settings):
    return call_hits(judged, settings, PARAMETERS)


def test_every_perturbation_of_the_map_has_one_row(hits, judged):
    treated = judged.map_table.filter(pl.col("control_kind").is_null())
    assert hits["perturbation_id"].to_list() == treated["perturbation_id"].to_list()
    assert hits["n_wells"].to_list() == treated["n_wells"].to_list()
    assert (hits["n_controls"] == 48).all(), "half of the 16 controls on each of six plates"


def test_strong_genes_are_active_and_far_and_compounds_without_an_effect_are_seldom(hits):
    active = hits.group_by("perturbation_kind").agg(pl.col("is_active").mean()).sort("perturbation_kind")
    of_compounds, of_genes = active["is_active"].to_list()
    assert of_genes == 1.0
    assert of_compounds <= 2 / 12, "at a rate of 0.05 one false hit beside 18 true ones is expected"
    far = hits.group_by("perturbation_kind").agg(pl.col("distance_sd").mean()).sort("perturbation_kind")
    compound, gene = far["distance_sd"].to_list()
    assert 3.0 < gene < 6.0, "genes were planted 5 standard deviations away"
    assert compound < 1.5
    assert (hits["distance_sd_low"] <= hits["distance_sd"]).all()
    assert (hits["distance_sd"] <= hits["distance_sd_high"]).all()
    assert (hits["magnitude_low"] <= hits["magnitude"]).all()
    assert (hits["magnitude"] <= hits["magnitude_high"]).all()


@pytest.mark.parametrize(
    ("measure", "prefix"), [("phenotypic_activity", "activity"), ("perturbation_magnitude", "magnitude")]
)
def test_the_chosen_measure_decides_by_its_q_value(judged, settings, measure, prefix):
    parameters = HitParameters(n_permutations=199, measure=measure, fdr=0.2)
    hits = call_hits(judged, settings, parameters)
    expected = benjamini_hochberg(hits[f"{prefix}_p_value"].to_numpy())
    assert hits[f"{prefix}_q_value"].to_numpy() == pytest.approx(expected)
    assert hits["is_active"].to_list() == (expected <= 0.2).tolist()


def test_values_are_those_of_the_benchmarks(hits, judged, settings):
    for name, column in (("phenotypic_activity", "activity"), ("perturbation_magnitude", "magnitude")):
        chosen = find_benchmark(name)
        rows = {row.perturbation_id: row.value for row in chosen.score(judged, settings[name])
                if row.level == "perturbation" and row.metric == chosen.unit_metric}  # fmt: skip
        found = dict(hits.select("perturbation_id", column).rows())
        assert found == pytest.approx(rows)


def test_the_magnitude_lies_in_the_middle_of_its_interval_unless_it_is_cut(hits):
    is_cut = pl.col("magnitude_high") >= 1.0
    row = hits.filter(~is_cut)
    middle = (row["magnitude_low"] + row["magnitude_high"]) / 2
    assert middle.to_numpy() == pytest.approx(row["magnitude"].to_numpy())


def test_only_perturbations_that_may_be_active_get_many_permutations(judged, settings):
    few = HitParameters(n_permutations=999)
    many = HitParameters(n_permutations=4999)
    first, second = (
        units_tested(judged, "perturbation_magnitude", settings["perturbation_magnitude"], p) for p in (few, many)
    )
    genes = [name for name in first if name.startswith("GENE")]
    assert {second[name].p_value for name in genes} == {1 / 5000}
    excluded = [name for name, found in first.items() if found.p_value > 0.1]
    assert excluded
    assert all(second[name] == first[name] for name in excluded)


def test_a_perturbation_with_one_well_is_named_with_the_reason(judged, settings):
    wells = np.flatnonzero(np.array(judged.units) == "GENE000")
    kept = np.ones(len(judged.units), dtype=bool)
    kept[wells[1:]] = False
    fewer = judged.with_wells(np.flatnonzero(kept))
    row = call_hits(fewer, settings, HitParameters(n_permutations=99)).filter(pl.col("perturbation_id") == "GENE000")
    assert row["not_tested"].to_list() == [FEW_WELLS]
    assert row["is_active"].to_list() == [False]
    assert row["activity_p_value"].to_list() == [None]


def test_without_held_out_controls_nothing_is_active_and_the_reason_is_given(judged, settings):
    bare = replace(judged, is_held_out_control=np.zeros(len(judged.units), dtype=bool))
    hits = call_hits(bare, settings, HitParameters(n_permutations=99))
    assert hits["not_tested"].unique().to_list() == [FEW_CONTROLS]
    assert not hits["is_active"].any()


def test_replicates_on_one_plate_cannot_be_compared_across_plates(judged, settings):
    is_on_first = (judged.plate_index == 0) | ~judged.is_treatment | (np.array(judged.units) != "GENE000")
    only = replace(judged, is_treatment=judged.is_treatment & is_on_first)
    across = {
        **settings,
        "phenotypic_activity": settings["phenotypic_activity"].model_copy(update={"is_across_plates": True}),
    }
    row = call_hits(only, across, HitParameters(n_permutations=99)).filter(pl.col("perturbation_id") == "GENE000")
    assert row["not_tested"].to_list() == [NOT_COMPARED]


def test_the_smallest_p_value_is_bounded_by_the_number_of_permutations_of_the_wells(judged, settings):
    plates = judged.plate_index == 0
    first_controls = np.flatnonzero(judged.is_held_out_control & plates)[:3]
    is_held_out = np.zeros(len(judged.units), dtype=bool)
    is_held_out[first_controls] = True
    row = call_hits(
        only_units(replace(judged, is_held_out_control=is_held_out), ["GENE000"]),
        settings,
        HitParameters(n_permutations=999),
    )
    assert row["least_p_value"].to_list() == [pytest.approx(1 / 10)], "two wells and three controls: 10 assignments"


@pytest.mark.parametrize(
    ("n_tested", "n_permutations", "expected"), [(1000, 9999, 2), (1000, 999, 20), (36, 99, 8), (5, 99, 1)]
)
def test_few_permutations_need_many_hits(n_tested, n_permutations, expected):
    # k hits need a p-value of k x 0.05 / n_tested; the smallest is 1 / (1 + n_permutations)
    assert least_n_active(n_tested, HitParameters(n_permutations=n_permutations)) == expected
