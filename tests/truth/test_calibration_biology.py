"""Benchmarks of known biology and of transfer: p-values are uniform without biology, and small with it.

Simulated wells go through the real alignment and aggregation. Four nulls, 200 seeds each: labels shuffled within
plates; and nothing planted with every treatment everywhere, with each on 40 to 100% of the plates, and with each in two
of four batches. Batches differ by six and plates by three standard deviations of a well's noise. Thresholds: one in a
hundred for each metric over its four nulls together (one in four hundred for each), of a Kolmogorov-Smirnov test and of
how many of 200 uniform p-values are at most 0.05.

P-values of single units can only be coarse where few permutations are possible (one target among the candidates of a
plate, two doses on a plate). They are then too large, never too small, so only that side is tested, except for labels
shuffled where every treatment is on every plate. The same holds for the order of potency. Seeds are fixed and were not
selected.
"""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, brunnermunzel, kstest

from cellassets.benchmarks.judged import judged_map
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.judging.comparison import compare_models
from cellassets.knowledge.annotations import Annotations
from cellassets.mapping.relate import cosine_similarities
from cellassets.studies.simulated import SIMULATED_MAP, annotations_of, map_wells, simulate_map
from cellassets.synthetic.embeddings import SimulatedWells, another_cell_type, simulate_wells
from cellassets.tables.parquet import vectors, with_vectors
from cellassets.tables.schemas import INFLUENCES

N_SEEDS, N_COMPARISONS, N_PERMUTATIONS = 200, 80, 99
NUISANCES = {"batch_effect": 6.0, "plate_effect": 3.0}
GENES = {"n_complexes": 6, "n_lone_genes": 12, "n_arms": 5, "n_batches": 4, "n_plates_per_batch": 1, **NUISANCES}
COMPOUNDS = {"n_compounds": 24, "n_doses": 3}
COMBINATIONS = {"n_combinations": 15}
NULLS = {
    "shuffled": {"is_shuffled": True},
    "nothing planted": {"gene_effect": 0.0},
    "unequal replicates": {"gene_effect": 0.0, "plate_share": (0.4, 1.0)},
    "two of four batches": {"gene_effect": 0.0, "n_batches_per_treatment": 2},
}
HEADLINES = {
    "compound_targets": ("target_average_precision", "target_auroc"),
    "dose_response": ("dose_trend", "page_trend"),
    "proximity_bias": ("proximity_bias",),
    "cell_type_generalisation": ("neighbours_kept", "rank_biased_overlap"),
    "analogies": ("analogy_reciprocal_rank", "analogy_hits"),
}
OF_COMPOUNDS = ("compound_targets", "dose_response")
OF_GENES = tuple(sorted(set(HEADLINES) - set(OF_COMPOUNDS)))
LEVEL = 0.01 / len(NULLS)


def most(n_seeds):
    """How many of `n_seeds` uniform p-values may be at most 0.05."""
    return binom.ppf(1 - LEVEL, n_seeds, 0.05)


def score(name, judged, seed=0):
    chosen = BENCHMARKS[name]
    # not the simulation's own seed: both would draw the same random numbers
    return chosen.score(judged, chosen.parameters(n_permutations=N_PERMUTATIONS, seed=seed + 10_000))


def headline(name, judged, seed=0):
    rows = score(name, judged, seed)
    return next(row for row in rows if row.metric == BENCHMARKS[name].headline_metric and row.level == "summary")


def screens(seed, **design):
    """The benchmarks, by the screen that has what they are about."""
    of_genes = SimulatedWells(seed=seed, **{**GENES, **COMBINATIONS, **design})
    of_compounds = SimulatedWells(seed=seed + 300_000, **{**GENES, **COMPOUNDS, **design})
    return ((OF_GENES, simulate_map(of_genes, n_other_maps=1)), (OF_COMPOUNDS, simulate_map(of_compounds)))


@pytest.fixture(scope="module")
def null_p_values(seeds_of):
    """P-values by null and metric; `<benchmark> unit` is that of one unit per seed, a different unit each time."""
    found = {}
    for number, (null, design) in enumerate(NULLS.items()):
        for seed in seeds_of(number, N_SEEDS):
            for names, judged in screens(seed, **design):
                for name in names:
                    rows = score(name, judged, seed)
                    units = [r for r in rows if r.metric == BENCHMARKS[name].unit_metric and r.level == "perturbation"]
                    found.setdefault((null, f"{name} unit"), []).append(units[seed % len(units)].p_value)
                    for row in (row for row in rows if row.level == "summary"):
                        found.setdefault((null, row.metric), []).append(row.p_value)
    return {key: np.array(values) for key, values in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize("metric", [metric for metrics in HEADLINES.values() for metric in metrics])
def test_summary_p_values_are_uniform_without_biology(null_p_values, seeds_of, is_uniform, null, metric):
    p_values = null_p_values[null, metric]
    assert len(p_values) == len(seeds_of(0, N_SEEDS))
    assert is_uniform(p_values, LEVEL)


@pytest.mark.slow
@pytest.mark.parametrize("metric", [metric for metrics in HEADLINES.values() for metric in metrics])
def test_summary_p_values_of_all_null_hypotheses_together_are_uniform(null_p_values, seeds_of, is_uniform, metric):
    n_independent = len({seed for number in range(len(NULLS)) for seed in seeds_of(number, N_SEEDS)})
    p_values = np.concatenate([null_p_values[null, metric] for null in NULLS])
    assert is_uniform(p_values, LEVEL, n_independent)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(HEADLINES))
def test_p_values_of_single_units_are_uniform_where_labels_are_shuffled(null_p_values, name):
    assert kstest(null_p_values["shuffled", f"{name} unit"], "uniform").pvalue > LEVEL


@pytest.mark.slow
@pytest.mark.parametrize("null", NULLS)
@pytest.mark.parametrize("metric", ["potency_order", *(f"{name} unit" for name in sorted(HEADLINES))])
def test_coarse_p_values_are_never_too_small(null_p_values, null, metric):
    p_values = null_p_values[null, metric]
    assert kstest(p_values, "uniform", alternative="greater").pvalue > LEVEL
    assert (p_values <= 0.05).sum() <= most(len(p_values))


@pytest.mark.parametrize("seed", range(3))
def test_planted_effects_are_found_under_the_same_nuisances(seed):
    for names, judged in screens(seed, gene_effect=3.0, compound_effect=4.5, arm_effect=2.0):
        for name in names:
            row = headline(name, judged)
            assert row.p_value == 1 / (1 + N_PERMUTATIONS)
            assert row.interval_low > row.null_high


def n_found(names, n_seeds, **design):
    """How many of the seeds are called, for each benchmark."""
    called = dict.fromkeys(names, 0)
    for seed in range(n_seeds):
        for screened, judged in screens(seed, **design):
            for name in set(screened) & set(names):
                called[name] += headline(name, judged, seed).p_value <= 0.05
    return called


@pytest.mark.slow
@pytest.mark.long
def test_power_grows_with_the_effect(n_of):
    n_seeds = n_of(12, 0.5)
    found = [
        n_found(HEADLINES, n_seeds, gene_effect=effect, compound_effect=1.5 * effect, arm_effect=0.7 * effect)
        for effect in (0.4, 1.0, 3.0)
    ]
    for name in HEADLINES:
        counts = [called[name] for called in found]
        assert counts == sorted(counts)
        assert counts[0] < 0.75 * n_seeds
        assert counts[-1] == n_seeds


@pytest.mark.slow
@pytest.mark.long
def test_power_grows_with_replicates(n_of):
    n_seeds = n_of(12, 0.5)
    design = {"gene_effect": 1.0, "compound_effect": 1.6, "arm_effect": 0.6}
    few, many = (n_found(HEADLINES, n_seeds, n_plates_per_batch=n, **design) for n in (1, 4))
    for name in HEADLINES:
        assert many[name] > few[name] or many[name] == n_seeds


# --- two models


def two_equal_models(evidence_of, seed):
    """Evidence of two models that see the same biology, each with its own noise in every map."""
    planted = {"gene_effect": 3.0, "compound_effect": 4.5, "arm_effect": 1.5}
    design = SimulatedWells(seed=seed, **{**GENES, **COMPOUNDS, **COMBINATIONS, **planted})
    (wells, known), (elsewhere, _) = simulate_wells(design), simulate_wells(another_cell_type(design))
    rng = np.random.default_rng(seed + 20_000)

    def mapped(table):
        return map_wells(with_vectors(table, vectors(table) + rng.standard_normal(vectors(table).shape)))

    judged = {}
    for model_key in ("a.v1", "b.v1"):
        aligned, map_table = mapped(wells)
        known_here = {"annotations": annotations_of(known), "other_maps": {"OTHER": mapped(elsewhere)[1]}}
        judged[model_key] = judged_map(aligned, map_table, parameters=SIMULATED_MAP, **known_here)
    return evidence_of(judged, HEADLINES, N_PERMUTATIONS)


@pytest.fixture(scope="module")
def equal_models(n_of, evidence_of):
    return [two_equal_models(evidence_of, seed) for seed in range(n_of(N_COMPARISONS, 0.5))]


@pytest.mark.slow
@pytest.mark.long
def test_equal_models_seldom_differ(equal_models):
    found = pl.concat([compare_models(models.scores, models.influences) for models in equal_models])
    assert found["benchmark_name"].n_unique() == len(HEADLINES)
    for _, rows in found.group_by("benchmark_name"):
        assert rows.height == len(equal_models)
        assert (rows["p_value"] <= 0.05).sum() <= binom.ppf(0.99, len(equal_models), 0.05)


@pytest.mark.slow
@pytest.mark.long
def test_without_the_influences_of_partners_equal_models_would_differ_too_often(equal_models):
    is_judged = pl.col("benchmark_name") == "cell_type_generalisation"
    found = pl.concat([compare_models(models.scores.filter(is_judged), INFLUENCES.empty()) for models in equal_models])
    assert (found["p_value"] <= 0.05).sum() > binom.ppf(0.99, len(equal_models), 0.05)


# --- proximity bias against the published test


ARM_SIZES = (20, 8, 6, 6)


def on_a_strength_axis(judged, seed):
    """The map with genes that share one axis and differ in strength, and arms that mean nothing."""
    rng = np.random.default_rng(seed)
    genes = judged.map_table.filter(judged.map_table["control_kind"].is_null())
    axis = np.outer(np.abs(rng.normal(0.0, 4.0, genes.height)), rng.standard_normal(16) / 4)
    table = with_vectors(genes, axis + rng.standard_normal((genes.height, 16)))
    arms = rng.permutation(np.repeat(np.arange(len(ARM_SIZES)), ARM_SIZES)).astype(str)
    known = pl.DataFrame({"gene_symbol": table["perturbation_id"], "chromosome_arm": arms})
    return replace(judged, map_table=table, annotations=Annotations(gene_arms={"none": known})), arms


@pytest.mark.slow
def test_arms_that_mean_nothing_are_called_by_the_published_test_and_not_here():
    """Arms differ in size: their genes are in unequally many pairs within, and the strong ones in strong pairs."""
    base = simulate_map(SimulatedWells(n_complexes=0, n_lone_genes=40, n_batches=2, n_plates_per_batch=1))
    ours, published = [], []
    for seed in range(N_SEEDS):
        judged, arms = on_a_strength_axis(base, seed)
        ours.append(headline("proximity_bias", judged, seed).p_value)
        pairs = np.triu_indices(len(arms), 1)
        cosines, is_within = cosine_similarities(vectors(judged.map_table))[pairs], (arms[:, None] == arms)[pairs]
        published.append(brunnermunzel(cosines[is_within], cosines[~is_within]).pvalue)
    assert kstest(ours, "uniform").pvalue > LEVEL
    assert (np.array(ours) <= 0.05).sum() <= most(N_SEEDS)
    assert (np.array(published) <= 0.05).sum() > 2 * most(N_SEEDS)
