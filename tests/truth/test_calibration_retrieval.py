"""Phenotypic activity and consistency: p-values are uniform without effects, and small with them.

Small simulated screens go through the real alignment and aggregation. Nulls: labels shuffled within plates under large
batch and plate effects, with equal and unequal replicate numbers, and with perturbations in two of four batches;
screens without planted effects; and strong effects with labels that are unrelated to them. Seeds are fixed and were not
selected.
"""

from dataclasses import replace

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
NAMES = ("phenotypic_activity", "phenotypic_consistency")
WEAK = 0.5


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
        assert len(found.found) == 8
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
@pytest.mark.parametrize("label", ["gene", "set", "target"])
def test_labels_that_have_nothing_to_do_with_strong_effects_are_not_retrieved(
    p_values, n_of, judge_wells, score_by, label
):
    found = p_values()
    for seed in range(n_of(N_SEEDS)):
        compounds = {"n_guides_per_gene": 1, "n_complexes": 2, "n_compounds": 24, "n_doses": 2}
        changes = compounds if label == "target" else {"n_complexes": 3}
        design = SimulatedWells(seed=seed, **{**SMALL, "gene_effect": 3.0, **changes})
        wells, known = simulate_wells(design)
        wells, known = RELABELLED[label](wells, known, np.random.default_rng(seed + 30_000))
        found.add(label, score_by("phenotypic_consistency", judge_wells(wells, known), seed, label=label), seed)
    assert found.refused() == []


def genes_exchanged(wells, known, rng):
    guides = wells.filter(pl.col("guide_id").is_not_null()).select("guide_id", "gene_symbol").unique().sort("guide_id")
    drawn = guides.with_columns(pl.Series("gene_symbol", rng.permutation(guides["gene_symbol"].to_numpy())))
    return wells.drop("gene_symbol").join(drawn, on="guide_id", how="left").select(wells.columns), known


def members_exchanged(wells, known, rng):
    genes = wells["gene_symbol"].drop_nulls().unique().sort().to_numpy()
    return wells, replace(
        known, sets=known.sets.with_columns(member=pl.Series(rng.permutation(genes)[: known.sets.height]))
    )


def targets_exchanged(wells, known, rng):
    drawn = rng.permutation(known.targets["gene_symbol"].to_numpy())
    return wells, replace(known, targets=known.targets.with_columns(gene_symbol=pl.Series(drawn)))


RELABELLED = {"gene": genes_exchanged, "set": members_exchanged, "target": targets_exchanged}


def two_equal_models(judge_wells, evidence_of, seed):
    """Differences of two models that see the same biology, each with its own noise."""
    design = SimulatedWells(seed=seed, n_complexes=4, n_lone_genes=4, n_guides_per_gene=2, gene_effect=3.0, n_batches=4)
    wells, known = simulate_wells(design)
    rng = np.random.default_rng(seed + 20_000)
    values = vectors(wells)
    judged = {
        model_key: judge_wells(with_vectors(wells, values + rng.standard_normal(values.shape)), known)
        for model_key in ("a.v1", "b.v1")
    }
    found = evidence_of(judged, NAMES)
    return compare_models(found.scores, found.influences)


@pytest.mark.slow
@pytest.mark.long
def test_equal_models_seldom_differ(n_of, judge_wells, evidence_of):
    n_comparisons = n_of(N_COMPARISONS, 0.5)
    found = pl.concat([two_equal_models(judge_wells, evidence_of, seed) for seed in range(n_comparisons)])
    for _, rows in found.group_by("benchmark_name"):
        assert rows.height == n_comparisons
        assert (rows["p_value"] <= 0.05).sum() <= binom.ppf(0.99, n_comparisons, 0.05)
