"""Held-out batches and leftover batch effects: p-values are uniform without effects, and small with them.

Small simulated screens go through the real alignment and aggregation. Nulls: labels shuffled within plates under large
batch and plate effects, with equal and unequal replicate numbers, and with perturbations in two of four batches; and
screens without planted effects. The null of batches: screens without a batch effect and without alignment, because
alignment by batch itself makes plates of one batch unlike others. Seeds are fixed and were not selected.
"""

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from cellassets.judging.comparison import compare_models
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import vectors, with_vectors

N_SEEDS = 200
N_COMPARISONS = 40
SMALL = {"n_complexes": 2, "n_lone_genes": 4, "n_guides_per_gene": 2, "n_controls_per_plate": 8, "n_features": 8}
NUISANCES = {"batch_effect": 6.0, "plate_effect": 3.0}
NULLS = {
    "shuffled": {"is_shuffled": True, **NUISANCES},
    "unequal": {"is_shuffled": True, "plate_share": (0.4, 1.0), **NUISANCES},
    "two_of_four_batches": {"is_shuffled": True, "n_batches": 4, "n_batches_per_treatment": 2, **NUISANCES},
    "nothing_planted": {"gene_effect": 0.0, **NUISANCES},
}
NAMES = ("held_out_batch_classification",)
WEAK = 1.0


@pytest.mark.slow
def test_p_values_of_summaries_and_units_are_uniform_where_there_is_nothing(p_values, seeds_of, judge_wells, score_by):
    of_all, seeds = p_values(), set()
    for number, (null, changes) in enumerate(NULLS.items()):
        found = p_values()
        for seed in seeds_of(number, N_SEEDS):
            seeds.add(seed)
            judged = judge_wells(*simulate_wells(SimulatedWells(seed=seed, **{**SMALL, **changes})))
            for name in NAMES:
                rows = score_by(name, judged, seed)
                found.add(name, rows, seed)
                of_all.add(name, rows, seed)
        assert len(found.found) == 4
        assert found.refused() == [], null
    assert of_all.refused(n_independent=len(seeds)) == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NAMES)
def test_planted_effects_are_found_under_the_same_nuisances(judge_wells, score_by, headline_of, name, seed):
    design = SimulatedWells(seed=seed, gene_effect=4.0, n_guides_per_gene=2, n_lone_genes=6, **NUISANCES)
    row = headline_of(name, score_by(name, judge_wells(*simulate_wells(design)), seed))
    assert row.p_value == 1 / 100
    assert row.interval_low > row.null_high


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_power_grows_with_the_effect_and_with_replicates(n_of, judge_wells, score_by, headline_of, name):
    def power(**changes):
        p_values = []
        for seed in range(n_of(20, 0.5)):
            design = SimulatedWells(seed=seed, **{**SMALL, "batch_effect": 3.0, "n_batches": 2, **changes})
            p_values.append(headline_of(name, score_by(name, judge_wells(*simulate_wells(design)), seed)).p_value)
        return np.mean(np.array(p_values) <= 0.05)

    weak = power(gene_effect=WEAK)
    assert weak < power(gene_effect=3 * WEAK)
    assert weak < power(gene_effect=WEAK, n_batches=6, n_plates_per_batch=3)


@pytest.mark.slow
@pytest.mark.parametrize("plate_effect", [0.0, 3.0])
def test_without_a_batch_effect_no_batch_is_predicted(p_values, n_of, judge_wells, score_by, plate_effect):
    found = p_values()
    design = {**SMALL, "n_batches": 4, "n_guides_per_gene": 1, "batch_effect": 0.0, "plate_effect": plate_effect}
    for seed in range(n_of(N_SEEDS, 0.12)):
        judged = judge_wells(*simulate_wells(SimulatedWells(seed=seed, **design)), is_aligned=False)
        found.add("left over", score_by("leftover_batch_effect", judged, seed, n_permutations=199), seed)
    del found.found["left over", "biology_kept"]  # genes have effects
    del found.found["left over", "batch_over_correction"]  # the other tail of batch_predictability
    if plate_effect:
        assert np.median(found.found.pop(("left over", "plate_predictability"))) == 1 / 200
        assert np.mean(found.found.pop(("left over", "one plate_predictability"))) < 0.1
    assert len(found.found) == (4 if plate_effect else 6)
    assert found.refused() == []


@pytest.mark.parametrize("seed", range(3))
def test_a_batch_effect_is_found_before_alignment(judge_wells, score_by, seed):
    design = SimulatedWells(seed=seed, n_batches=4, batch_effect=6.0)
    judged = judge_wells(*simulate_wells(design), is_aligned=False)
    rows = score_by("leftover_batch_effect", judged, seed, n_permutations=199)
    summary = {row.metric: row for row in rows if row.level == "summary"}
    assert summary["batch_predictability"].p_value == pytest.approx(1 / 105)  # all ways to put eight plates in pairs
    assert summary["batch_predictability"].value > 0.8
    assert summary["batch_mixing"].p_value == pytest.approx(1 / 105)
    assert summary["batch_mixing"].value < 0.2


def two_equal_models(judge_wells, evidence_of, seed):
    """Differences of two models that see the same biology, each with its own noise."""
    design = SimulatedWells(seed=seed, n_complexes=4, n_lone_genes=4, n_guides_per_gene=2, gene_effect=3.0, n_batches=8)
    wells, known = simulate_wells(design)
    rng = np.random.default_rng(seed + 20_000)
    values = vectors(wells)
    judged = {
        model_key: judge_wells(with_vectors(wells, values + rng.standard_normal(values.shape)), known)
        for model_key in ("a.v1", "b.v1")
    }
    found = evidence_of(judged, (*NAMES, "leftover_batch_effect"))
    return compare_models(found.scores, found.influences)


@pytest.mark.slow
@pytest.mark.long
def test_equal_models_seldom_differ(n_of, judge_wells, evidence_of):
    n_comparisons = n_of(N_COMPARISONS, 0.5)
    found = pl.concat([two_equal_models(judge_wells, evidence_of, seed) for seed in range(n_comparisons)])
    for _, rows in found.group_by("benchmark_name"):
        assert rows.height == n_comparisons
        assert (rows["p_value"] <= 0.05).sum() <= binom.ppf(0.99, n_comparisons, 0.05)
