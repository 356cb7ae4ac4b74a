"""The second step: benchmarks on the active perturbations alone, with a reason where one has no score."""

import polars as pl
import pytest

from cellassets.benchmarks.registry import find_benchmark
from cellassets.hits.among_active import score_active
from cellassets.hits.parameters import HitParameters
from cellassets.hits.restricted import only_units
from cellassets.hits.tables import hit_tables


def test_a_restricted_map_keeps_controls_and_chosen_perturbations(judged):
    chosen = only_units(judged, ["GENE000", "GENE001"])
    assert set(chosen.wells.filter(pl.Series(chosen.is_treatment))["gene_symbol"]) == {"GENE000", "GENE001"}
    assert len(chosen.vectors) == chosen.wells.height == len(chosen.units) == len(chosen.plate_index)
    assert (~chosen.is_treatment).sum() == (~judged.is_treatment).sum()
    assert chosen.is_held_out_control.sum() == judged.is_held_out_control.sum()
    assert set(chosen.map_table["perturbation_id"]) == {"GENE000", "GENE001", "EMPTY"}


def test_scores_are_those_of_the_benchmarks_on_the_restricted_map(judged, settings):
    active = [f"GENE{number:03d}" for number in range(12)]
    rows, reasons = score_active(judged, active, settings)
    assert reasons == {}
    for name, metric in (("phenotypic_consistency", "mean_average_precision"), ("known_relationships", "recall")):
        expected = find_benchmark(name).score(only_units(judged, active), settings[name])
        summary = next(row for row in expected if row.level == "summary" and row.metric == metric)
        row = rows.filter(pl.col("benchmark_name") == name, pl.col("metric") == metric).row(0, named=True)
        assert (row["value"], row["p_value"], row["n_units"]) == (summary.value, summary.p_value, summary.n_units)
        assert row["n_active"] == 12


def test_recall_among_active_genes_ranks_among_their_pairs_alone(judged, settings):
    rows, _ = score_active(judged, ["GENE000", "GENE001", "GENE002", "GENE003", "GENE004", "GENE005"], settings)
    recall = rows.filter(pl.col("metric") == "recall")
    assert recall["n_units"].to_list() == [6], "two complexes of three genes"


@pytest.mark.parametrize("active", [[], ["GENE000"]])
def test_too_few_active_perturbations_have_no_score_and_a_reason(judged, settings, active):
    rows, reasons = score_active(judged, active, settings)
    known = set(rows["benchmark_name"]) if not rows.is_empty() else set()
    assert known | set(reasons) == {"phenotypic_consistency", "known_relationships"}
    assert "known_relationships" in reasons
    assert all(reasons.values())


def test_the_tables_agree_with_their_counts(judged, settings):
    found = hit_tables(judged, settings, HitParameters(n_permutations=999, n_dose_permutations=99))
    counts = found.counts()
    assert counts["n_active"] == found.hits["is_active"].sum() == sum(counts["n_active_by_kind"].values())
    assert counts["n_active_by_kind"]["gene"] == 18
    assert (counts["n_perturbations"], counts["n_tested"]) == (30, 30)
    assert (counts["n_compounds"], counts["n_active_compounds"]) == (3, 0)
    assert counts["not_tested"] == {}
    assert found.active_scores["n_active"].unique().to_list() == [counts["n_active"]]
