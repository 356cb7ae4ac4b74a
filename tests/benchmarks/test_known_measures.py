"""Percent replicating, percent matching, grit and the mp-value: naive loops, planted effects, refusals."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.known_measures.hits import hits_above_null
from cellassets.benchmarks.known_measures.treatments import by_treatment
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.mapping.controls import is_negative_control
from cellassets.statistics import correlation as correlations
from cellassets.statistics.correlation import Correlations, centred_units, pairs_within
from cellassets.statistics.mahalanobis import distances_of_chosen, whitened

MEASURES = ("grit", "mp_value", "percent_matching", "percent_replicating")
SCREEN = {"n_batches": 2, "n_guides_per_gene": 2, "n_complexes": 4, "n_lone_genes": 8}


def score(name, judged, **parameters):
    chosen = BENCHMARKS[name]
    return chosen.score(judged, chosen.parameters(**{"n_permutations": 99, "seed": 5, **parameters}))


def headline(name, judged, **parameters):
    rows = score(name, judged, **parameters)
    return next(row for row in rows if row.level == "summary" and row.metric == BENCHMARKS[name].headline_metric)


def unit_values(rows, metric):
    return {row.perturbation_id: row.value for row in rows if row.level == "perturbation" and row.metric == metric}


def pearson(a, b):
    return np.corrcoef(a.astype(np.float64), b.astype(np.float64))[0, 1]


@pytest.mark.parametrize("name", MEASURES)
def test_a_planted_effect_is_found_and_the_same_screen_with_shuffled_labels_is_not(judge, name):
    found = headline(name, judge(seed=1, gene_effect=4.0, **SCREEN))
    assert found.p_value == 0.01
    assert found.interval_low > found.null_high
    shuffled = [judge(seed=seed, gene_effect=4.0, is_shuffled=True, **SCREEN) for seed in range(5)]
    assert np.median([headline(name, one).p_value for one in shuffled]) > 0.05


def test_the_replicate_correlation_is_the_median_over_pairs_of_one_guides_wells(judge):
    judged = judge(seed=2, **SCREEN)
    values = unit_values(score("percent_replicating", judged), "median_correlation")
    wells = judged.vectors[judged.wells["perturbation_id"].to_numpy() == "GENE003_g1"]
    assert len(wells) == 4
    assert values["GENE003_g1"] == pytest.approx(np.median([pearson(a, b) for a, b in combinations(wells, 2)]))


def test_a_label_matches_by_the_median_over_pairs_of_its_different_guides(judge):
    judged = judge(seed=2, **{**SCREEN, "n_guides_per_gene": 3})
    values = unit_values(score("percent_matching", judged), "median_correlation")
    names = judged.wells["perturbation_id"].to_numpy()
    means = [judged.vectors[names == f"GENE003_g{guide}"].mean(axis=0) for guide in (1, 2, 3)]
    assert values["GENE003"] == pytest.approx(np.median([pearson(a, b) for a, b in combinations(means, 2)]), abs=1e-5)


def test_a_compounds_doses_are_no_match_of_each_other(judge):
    judged = judge(seed=2, n_compounds=16, n_complexes=2, n_lone_genes=2, n_doses=2)
    rows = score("percent_matching", judged, label="target")
    doses = judged.map_table.filter(pl.col("compound_id").is_in(["CMPD000", "CMPD008"])).sort("compound_id")
    vectors = np.array(doses["embedding"].to_list())
    owners = doses["compound_id"].to_list()
    pairs = [(a, b) for a, b in combinations(range(4), 2) if owners[a] != owners[b]]
    assert len(pairs) == 4
    expected = np.median([pearson(vectors[a], vectors[b]) for a, b in pairs])
    assert unit_values(rows, "median_correlation")["GENE000"] == pytest.approx(expected, abs=1e-5)


def test_grit_is_the_mean_z_of_replicates_among_held_out_controls(judge):
    judged = judge(seed=3, **SCREEN)
    own = judged.vectors[judged.wells["perturbation_id"].to_numpy() == "GENE000_g1"]
    controls = judged.vectors[judged.is_held_out_control]
    of_wells = []
    for number, well in enumerate(own):
        null = np.array([pearson(well, control) for control in controls])
        others = [pearson(well, other) for place, other in enumerate(own) if place != number]
        of_wells.append(((np.array(others) - null.mean()) / null.std()).mean())
    assert unit_values(score("grit", judged), "grit")["GENE000_g1"] == pytest.approx(np.mean(of_wells), rel=1e-5)


def test_the_influence_of_a_control_on_grit_is_what_is_lost_without_it(judge):
    judged = judge(seed=3, **SCREEN)
    chosen = BENCHMARKS["grit"]
    parameters = chosen.parameters(n_permutations=99)
    influences = {row.shared_id: row.influence for row in chosen.rows(judged, parameters) if hasattr(row, "influence")}
    control = int(np.flatnonzero(judged.is_held_out_control)[2])
    without = replace(
        judged, is_held_out_control=judged.is_held_out_control & (np.arange(len(judged.units)) != control)
    )
    name = "/".join(judged.wells.row(control, named=True)[key] for key in ("experiment_id", "plate_id", "well_id"))
    lost = headline("grit", judged).value - headline("grit", without).value
    assert influences[name] == pytest.approx(lost, rel=1e-5, abs=1e-9)
    assert abs(lost) > 1e-5


def test_the_mp_distance_is_mahalanobis_by_the_covariance_of_fitted_controls(judge):
    judged = judge(seed=4, n_controls_per_plate=24, **SCREEN)
    names = judged.wells["perturbation_id"].to_numpy()
    own = judged.vectors[names == "GENE000_g1"].astype(np.float64)
    held_out = judged.vectors[judged.is_held_out_control].astype(np.float64)
    fitted = judged.vectors[is_negative_control(judged.wells) & ~judged.is_held_out_control].astype(np.float64)
    away = own.mean(axis=0) - held_out.mean(axis=0)
    expected = away @ np.linalg.inv(np.cov(fitted.T, bias=True)) @ away
    rows = score("mp_value", judged, variance_frac=1.0)
    assert fitted.shape[0] > 2 * fitted.shape[1]
    assert unit_values(rows, "mahalanobis_distance")["GENE000_g1"] == pytest.approx(expected, rel=1e-5)


def test_the_mp_value_permutes_labels_between_a_treatment_and_the_controls_of_its_plates(judge):
    """One active treatment among inactive ones has the smallest mp-value; a unit's p-value is its mp-value."""
    judged = judge(seed=5, gene_effect=0.0, **SCREEN)
    is_moved = judged.wells["perturbation_id"].to_numpy() == "GENE004_g2"
    judged = replace(judged, vectors=(judged.vectors + 3.0 * is_moved[:, None]).astype(np.float32))
    rows = [row for row in score("mp_value", judged) if row.level == "perturbation" and row.metric == "mp_active_frac"]
    values = {row.perturbation_id: (row.p_value, row.value) for row in rows}
    assert values["GENE004_g2"] == (0.01, 1.0)
    assert np.mean([value for _, value in values.values()]) < 0.25


def test_chosen_wells_are_compared_with_all_others():
    rng = np.random.default_rng(0)
    own, others = rng.standard_normal((3, 4)), rng.standard_normal((6, 4))
    chosen = np.stack([rng.choice(9, 3, replace=False) for _ in range(5)])
    rows = np.concatenate([own, others])
    for found, places in zip(distances_of_chosen(own, others, chosen), chosen, strict=True):
        away = rows[places].mean(axis=0) - np.delete(rows, places, axis=0).mean(axis=0)
        assert found == pytest.approx(away @ away)


def test_whitening_keeps_components_with_a_share_of_the_variance():
    """Variances 8, 1.5 and 0.5 of 10: the first holds 80%, the first two 95%."""
    controls = np.sqrt(3) * np.concatenate(
        [scale * np.outer([1, -1], axis) for scale, axis in zip(np.sqrt([8, 1.5, 0.5]), np.eye(3), strict=True)]
    )
    rows = np.array([[np.sqrt(8), np.sqrt(1.5), 9.0]])
    np.testing.assert_allclose(np.abs(whitened(rows, controls, 0.9)), [[1.0, 1.0]])
    np.testing.assert_allclose(np.abs(whitened(rows, controls, 0.7)), [[1.0]])


def test_a_hit_is_above_the_quantile_and_a_tie_is_none():
    draws = np.arange(100.0)[::-1, None]
    hits, finer = hits_above_null(draws)
    np.testing.assert_array_equal(np.flatnonzero(hits), np.arange(5))
    assert (np.diff(finer[:, 0]) < 0).all()
    assert not hits_above_null(np.ones((100, 3)))[0].any()
    assert not hits_above_null(np.repeat([[0.0], [1.0]], 50, axis=0))[0].any()


def test_guides_of_a_gene_are_no_replicates_of_each_other(judge):
    judged = by_treatment(judge(seed=1, **SCREEN))
    assert {"GENE000_g1", "GENE000_g2"} <= set(judged.units)
    assert "GENE000" not in judged.units


def test_correlations_of_many_wells_are_computed_by_pair_and_equal(monkeypatch):
    rows = np.random.default_rng(0).standard_normal((9, 5)) + 2
    pairs = pairs_within(np.array([4, 1, 3]))
    whole = Correlations(centred_units(rows)).of(pairs.first, pairs.second)
    monkeypatch.setattr(correlations, "MATRIX_ROWS", 3)
    np.testing.assert_array_equal(Correlations(centred_units(rows)).of(pairs.first, pairs.second), whole)
    np.testing.assert_allclose(whole, np.corrcoef(rows)[pairs.first, pairs.second], atol=1e-9)
    assert pairs.medians(whole)[1] == pairs.means(whole)[1] == 0.0
    assert pairs.medians(whole)[2] == np.median(whole[6:])
    assert pairs.means(whole)[0] == pytest.approx(whole[:6].mean())


def test_rounding_noise_of_a_flat_row_is_no_profile():
    flat = np.float32(0.3) + np.float32(1e-9) * np.arange(8, dtype=np.float32)
    units = centred_units(np.stack([flat, np.arange(8, dtype=np.float32)]))
    np.testing.assert_array_equal(units[0], 0.0)
    assert np.linalg.norm(units[1]) == pytest.approx(1.0)


# --- refusals


@pytest.mark.parametrize("name", ["grit", "mp_value", "percent_replicating"])
def test_a_screen_without_replicates_has_no_score_and_says_so(judge, name):
    judged = judge(seed=1, n_batches=1, n_plates_per_batch=1, n_controls_per_plate=24, is_aligned=False)
    with pytest.raises(NotApplicable, match="none of 36 perturbations has two wells"):
        score(name, judged)


def test_a_screen_with_one_guide_per_gene_has_no_matches(judge):
    with pytest.raises(NotApplicable, match="no gene has two guides"):
        score("percent_matching", judge(seed=1))


@pytest.mark.parametrize(("name", "words"), [("grit", "0 negative controls were held"), ("mp_value", "held-out neg")])
def test_a_map_without_held_out_controls_is_refused(judge, name, words):
    judged = judge(seed=1, **SCREEN)
    with pytest.raises(BenchmarkError, match=words):
        score(name, replace(judged, is_held_out_control=np.zeros(len(judged.units), dtype=bool)))


def test_a_covariance_needs_controls(judge):
    judged = judge(seed=1, **SCREEN)
    with pytest.raises(BenchmarkError, match="alignment was fitted on 0 negative controls, and 5 are needed"):
        score("mp_value", replace(judged, is_held_out_control=is_negative_control(judged.wells)))


# --- where the published measure goes wrong


def test_pairs_of_one_plate_hide_replicates_from_the_published_measure_and_not_from_ours(judge):
    """Wells of one plate are alike here, and replicates are on different plates: no pair is above the threshold."""
    judged = judge(seed=0, is_aligned=False, n_batches=4, n_plates_per_batch=1, gene_effect=5.0, batch_effect=6.0)
    chosen = BENCHMARKS["percent_replicating"]
    (published,) = chosen.published_values(judged, chosen.parameters())
    assert published.value < 0.1
    assert headline("percent_replicating", judged).value > 0.6
