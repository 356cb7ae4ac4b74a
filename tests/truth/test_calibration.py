"""P-values are uniform where there is no effect, and small where effects are planted.

Simulated wells with batch and plate effects go through the real alignment and aggregation into every benchmark. Under
the null, labels (also those of controls) are shuffled within plates. Seeds are fixed and were not selected, so a test
that passes always passes. The thresholds are those of a Kolmogorov-Smirnov test at one in a hundred.
"""

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, kstest

from cellassets.benchmarks.judged import judged_map
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.judging.comparison import compare_models
from cellassets.studies.simulated import SIMULATED_MAP, annotations_of, map_wells
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import vectors, with_vectors
from cellassets.tables.schemas import INFLUENCES

N_SEEDS = 250
N_COMPARISONS = 80
N_PERMUTATIONS = 199
NUISANCES = {"batch_effect": 6.0, "plate_effect": 3.0}
SUMMARIES = {
    "perturbation_consistency": ("consistency", "consistency_percentile"),
    "perturbation_magnitude": ("magnitude",),
    "known_relationships": ("recall", "recall_similar", "recall_opposite"),
}


def judge(wells, known):
    """A JudgedMap after the real alignment and aggregation."""
    aligned, map_table = map_wells(wells)
    return judged_map(aligned, map_table, parameters=SIMULATED_MAP, annotations=annotations_of(known))


def score(name, judged, seed, n_permutations=N_PERMUTATIONS):
    chosen = BENCHMARKS[name]
    # not the simulation's own seed: both would draw the same random numbers
    return chosen.score(judged, chosen.parameters(n_permutations=n_permutations, seed=seed + 10_000))


@pytest.fixture(scope="module")
def null_p_values(n_of):
    """P-values by benchmark and metric; `unit` is that of one unit per seed, a different unit each time."""
    found = {}
    for seed in range(n_of(N_SEEDS)):
        judged = judge(*simulate_wells(SimulatedWells(seed=seed, is_shuffled=True, **NUISANCES)))
        for name in SUMMARIES:
            chosen = BENCHMARKS[name]
            rows = score(name, judged, seed)
            for row in rows:
                if row.level == "summary":
                    found.setdefault((name, row.metric), []).append(row.p_value)
            units = [r for r in rows if r.level == "perturbation" and r.metric == chosen.unit_metric]
            found.setdefault((name, "unit"), []).append(units[seed % len(units)].p_value)
    return {key: np.array(values) for key, values in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "metric"), [(n, m) for n, metrics in SUMMARIES.items() for m in metrics])
def test_summary_p_values_are_uniform_when_labels_are_shuffled_within_plates(null_p_values, name, metric):
    p_values = null_p_values[name, metric]
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert (p_values <= 0.05).sum() <= binom.ppf(0.99, len(p_values), 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SUMMARIES))
def test_p_values_of_single_units_are_uniform_too(null_p_values, name):
    assert kstest(null_p_values[name, "unit"], "uniform").pvalue > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", ["perturbation_consistency", "perturbation_magnitude"])
def test_a_screen_of_nothing_seldom_has_a_discovery(n_of, name):
    n_screens, n_permutations = n_of(60, 0.25), n_of(1999, 0.5)
    has_discovery = []
    for seed in range(n_screens):
        judged = judge(*simulate_wells(SimulatedWells(seed=50_000 + seed, is_shuffled=True, **NUISANCES)))
        rows = score(name, judged, seed, n_permutations=n_permutations)
        units = [r for r in rows if r.level == "perturbation" and r.metric == BENCHMARKS[name].unit_metric]
        assert len(units) / (1 + n_permutations) < 0.05  # a single unit can be called
        has_discovery.append(any(r.q_value <= 0.05 for r in units))
    assert sum(has_discovery) <= binom.ppf(0.99, n_screens, 0.05)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", sorted(SUMMARIES))
def test_planted_effects_are_found_under_the_same_nuisances(name, seed):
    judged = judge(*simulate_wells(SimulatedWells(seed=seed, gene_effect=3.0, **NUISANCES)))
    headline = BENCHMARKS[name].headline_metric
    row = next(r for r in score(name, judged, seed) if r.level == "summary" and r.metric == headline)
    assert row.p_value == 1 / (1 + N_PERMUTATIONS)
    assert row.interval_low > row.null_high


def two_equal_models(evidence_of, seed):
    """Evidence of two models that see the same biology, each with its own noise."""
    wells, known = simulate_wells(SimulatedWells(seed=seed, n_complexes=12, genes_per_complex=4, gene_effect=3.0))
    rng = np.random.default_rng(seed + 20_000)
    values = vectors(wells)
    judged = {
        model_key: judge(with_vectors(wells, values + rng.standard_normal(values.shape)), known)
        for model_key in ("a.v1", "b.v1")
    }
    return evidence_of(judged, SUMMARIES)


@pytest.fixture(scope="module")
def equal_models(n_of, evidence_of):
    return [two_equal_models(evidence_of, seed) for seed in range(n_of(N_COMPARISONS, 0.5))]


@pytest.mark.slow
@pytest.mark.long
def test_equal_models_seldom_differ(equal_models):
    found = pl.concat([compare_models(models.scores, models.influences) for models in equal_models])
    for _, rows in found.group_by("benchmark_name"):
        assert rows.height == len(equal_models)
        assert (rows["p_value"] <= 0.05).sum() <= binom.ppf(0.99, len(equal_models), 0.05)
        is_outside = (rows["interval_low"] > 0) | (rows["interval_high"] < 0)
        assert is_outside.sum() <= binom.ppf(0.99, len(equal_models), 0.05)


@pytest.mark.slow
@pytest.mark.long
def test_without_the_influences_of_controls_equal_models_would_differ_too_often(equal_models):
    is_judged = pl.col("benchmark_name") == "perturbation_magnitude"
    found = pl.concat([compare_models(models.scores.filter(is_judged), INFLUENCES.empty()) for models in equal_models])
    assert (found["p_value"] <= 0.05).sum() > binom.ppf(0.99, len(equal_models), 0.05)
