"""Retrieval and batch benchmarks: p-values are uniform where there is nothing to find, and small where there is.

Small simulated screens go through the real alignment and aggregation. Nulls: labels shuffled within plates under large
batch and plate effects, with equal and unequal replicate numbers, with perturbations in two of four batches; and
screens in which nothing is planted. Of batches: screens without a batch effect, not aligned, since alignment by batch
itself makes plates of one batch unlike others. Seeds are fixed; the thresholds are those of a one-in-a-hundred
Kolmogorov-Smirnov test and the binomial 99th percentile, and nothing was picked.
"""

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, kstest

from cellassets.scoring.benchmark import BENCHMARKS
from cellassets.scoring.compare import compare_models
from cellassets.scoring.run import judged_map, scores_table
from cellassets.scoring.simulated import SIMULATED_MAP, annotations_of, map_wells
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import vectors, with_vectors

N_SEEDS = 200
N_COMPARISONS = 60
N_PERMUTATIONS = 99
SMALL = {
    "n_complexes": 2,
    "n_lone_genes": 4,
    "n_guides_per_gene": 2,
    "n_controls_per_plate": 8,
    "n_features": 8,
}
NUISANCES = {"batch_effect": 6.0, "plate_effect": 3.0}
NULLS = {
    "shuffled": {"is_shuffled": True, **NUISANCES},
    "unequal": {"is_shuffled": True, "plate_share": (0.4, 1.0), **NUISANCES},
    "two_of_four_batches": {"is_shuffled": True, "n_batches": 4, "n_batches_per_treatment": 2, **NUISANCES},
    "nothing_planted": {"gene_effect": 0.0, **NUISANCES},
}
OF_PERTURBATIONS = ("held_out_batch_classification", "phenotypic_activity", "phenotypic_consistency")
LIMIT = binom.ppf(0.99, N_SEEDS, 0.05)


def judge(wells, known, *, is_aligned=True):
    """A JudgedMap after the real alignment and aggregation, one perturbation a guide."""
    steps = SIMULATED_MAP.steps if is_aligned else ()
    parameters = SIMULATED_MAP.model_copy(update={"aggregate_by": "perturbation", "steps": steps})
    aligned, map_table = map_wells(wells, parameters)
    return judged_map(aligned, map_table, parameters=parameters, annotations=annotations_of(known))


def score(name, judged, seed, **parameters):
    chosen = BENCHMARKS[name]
    # not the simulation's own seed: both would draw the same random numbers
    return chosen.score(judged, chosen.parameters(n_permutations=N_PERMUTATIONS, seed=seed + 10_000, **parameters))


def collected(found, name, rows, seed):
    """Adds the p-values of summaries, and of one unit of each metric, another one each seed."""
    for metric in {row.metric for row in rows if row.level == "perturbation"}:
        units = [row for row in rows if row.level == "perturbation" and row.metric == metric]
        found.setdefault((name, f"one {metric}"), []).append(units[seed % len(units)].p_value)
    for row in rows:
        if row.level == "summary":
            found.setdefault((name, row.metric), []).append(row.p_value)


@pytest.fixture(scope="module", params=sorted(NULLS))
def null_p_values(request):
    found = {}
    for seed in range(N_SEEDS):
        judged = judge(*simulate_wells(SimulatedWells(seed=seed, **{**SMALL, **NULLS[request.param]})))
        for name in OF_PERTURBATIONS:
            collected(found, name, score(name, judged, seed), seed)
    return found


def refused(p_values):
    """Names of what is not uniform."""
    return [
        key
        for key, values in p_values.items()
        if kstest(values, "uniform").pvalue <= 0.01 or (np.array(values) <= 0.05).sum() > LIMIT
    ]


@pytest.mark.slow
def test_p_values_of_summaries_and_units_are_uniform_where_there_is_nothing(null_p_values):
    assert len(null_p_values) == 12
    assert refused(null_p_values) == []


@pytest.mark.slow
@pytest.mark.parametrize("plate_effect", [0.0, 3.0])
def test_without_a_batch_effect_no_batch_is_predicted(plate_effect):
    found = {}
    design = {**SMALL, "n_batches": 4, "n_guides_per_gene": 1, "batch_effect": 0.0, "plate_effect": plate_effect}
    for seed in range(N_SEEDS):
        judged = judge(*simulate_wells(SimulatedWells(seed=seed, **design)), is_aligned=False)
        collected(found, "leftover", score("leftover_batch_effect", judged, seed), seed)
    of_plates = [key for key in found if "plate_predictability" in key[1]]
    kept = {key: values for key, values in found.items() if "batch" in key[1] or (plate_effect == 0 and key in of_plates)}
    assert len(kept) == (6 if plate_effect == 0 else 4)
    assert refused(kept) == []
    if plate_effect:
        assert np.median(found["leftover", "plate_predictability"]) == 1 / (1 + N_PERMUTATIONS)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", OF_PERTURBATIONS)
def test_planted_effects_are_found_under_the_same_nuisances(name, seed):
    design = SimulatedWells(seed=seed, gene_effect=4.0, n_guides_per_gene=2, n_lone_genes=6, **NUISANCES)
    rows = score(name, judge(*simulate_wells(design)), seed)
    row = next(r for r in rows if r.level == "summary" and r.metric == BENCHMARKS[name].headline_metric)
    assert row.p_value == 1 / (1 + N_PERMUTATIONS)
    assert row.interval_low > row.null_high


@pytest.mark.parametrize("seed", range(3))
def test_a_batch_effect_is_found_before_alignment(seed):
    design = SimulatedWells(seed=seed, n_batches=4, batch_effect=6.0)
    rows = score("leftover_batch_effect", judge(*simulate_wells(design), is_aligned=False), seed)
    summary = {row.metric: row for row in rows if row.level == "summary"}
    assert summary["batch_predictability"].p_value == 0.01  # of 105 assignments 99 are drawn
    assert summary["batch_predictability"].value > 0.9
    assert summary["batch_mixing"].p_value == 0.01
    assert summary["batch_mixing"].value < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_PERTURBATIONS)
def test_power_grows_with_the_effect_and_with_replicates(name):
    def power(**changes):
        p_values = []
        for seed in range(30):
            design = SimulatedWells(seed=seed, **{**SMALL, "batch_effect": 3.0, "n_batches": 2, **changes})
            headline = BENCHMARKS[name].headline_metric
            rows = score(name, judge(*simulate_wells(design)), seed)
            p_values.append(next(r.p_value for r in rows if r.level == "summary" and r.metric == headline))
        return np.mean(np.array(p_values) <= 0.05)

    weak = power(gene_effect=0.5)
    assert weak < power(gene_effect=1.5)
    assert weak < power(gene_effect=0.5, n_batches=6, n_plates_per_batch=3)


def two_equal_models(seed):
    """Scores of two models that see the same biology, each with noise of its own."""
    design = SimulatedWells(seed=seed, n_complexes=4, n_lone_genes=8, n_guides_per_gene=2, gene_effect=3.0, n_batches=4)
    wells, known = simulate_wells(design)
    rng = np.random.default_rng(seed + 20_000)
    tables = []
    for model_key in ("a.v1", "b.v1"):
        values = vectors(wells)
        judged = judge(with_vectors(wells, values + rng.standard_normal(values.shape)), known)
        labels = {"dataset_id": "SIM", "dataset_fingerprint": "f", "protocol_fingerprint": "p", "model_key": model_key}
        tables += [
            scores_table(score(name, judged, 0), is_higher_better=True, benchmark_name=name, **labels)
            for name in (*OF_PERTURBATIONS, "leftover_batch_effect")
        ]
    return compare_models(pl.concat(tables))


@pytest.mark.slow
def test_equal_models_are_seldom_told_apart():
    found = pl.concat([two_equal_models(seed) for seed in range(N_COMPARISONS)])
    for _, rows in found.group_by("benchmark_name"):
        assert rows.height == N_COMPARISONS
        assert (rows["p_value"] <= 0.05).sum() <= binom.ppf(0.99, N_COMPARISONS, 0.05)
