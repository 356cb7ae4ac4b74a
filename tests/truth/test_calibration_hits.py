"""Calling hits: the false discovery rate is held, power grows with the effect, and the second step stays calibrated.

Simulated screens with batch and plate effects go through the real alignment. Half of their perturbations have an effect
in the planted screens. Seeds are fixed and were not selected.
"""

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, kstest

from cellassets.benchmarks.judged import judged_map
from cellassets.benchmarks.registry import find_benchmark
from cellassets.hits.activity import units_tested
from cellassets.hits.among_active import score_active
from cellassets.hits.calling import call_hits
from cellassets.hits.doses import lowest_active_doses
from cellassets.hits.parameters import MEASURES, SECOND_STEP, HitParameters
from cellassets.knowledge.annotations import Annotations
from cellassets.studies.simulated import SIMULATED_MAP, map_wells, simulate_map
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import vectors, with_vectors

N_SCREENS = 60
SETTINGS = {name: find_benchmark(name).parameters(n_permutations=199) for name in (*MEASURES, *SECOND_STEP)}
SCREEN = {
    "n_complexes": 0,
    "n_lone_genes": 16,
    "n_compounds": 8,
    "n_doses": 2,
    "compound_effect": 0.0,
    "n_controls_per_plate": 16,
    "batch_effect": 6.0,
    "plate_effect": 3.0,
}
pytestmark = pytest.mark.slow


def is_too_often(shares, rate):
    """True where the mean of shares is above a rate by more than chance allows (3 standard errors)."""
    return np.mean(shares) > rate + 3 * np.std(shares) / len(shares) ** 0.5


def discoveries(n_screens, fdr=0.1, **changes):
    """False discovery proportion and power of each measure over simulated screens."""
    found = {measure: [] for measure in MEASURES}
    for seed in range(n_screens):
        judged = simulate_map(SimulatedWells(seed=seed, **{**SCREEN, **changes}))
        hits = call_hits(judged, SETTINGS, HitParameters(n_permutations=499, seed=seed + 10_000, fdr=fdr))
        has_effect = (hits["perturbation_kind"] == "gene").to_numpy() & (not changes.get("is_shuffled", False))
        for measure, prefix in zip(MEASURES, ("activity", "magnitude"), strict=True):
            is_called = hits[f"{prefix}_q_value"].to_numpy() <= fdr
            false = (is_called & ~has_effect).sum() / max(1, is_called.sum())
            found[measure].append((false, is_called[has_effect].mean() if has_effect.any() else np.nan))
    return {measure: np.array(values) for measure, values in found.items()}


@pytest.fixture(scope="module")
def planted(n_of):
    """By effect of a gene: discoveries."""
    return {effect: discoveries(n_of(N_SCREENS, 0.25), gene_effect=effect) for effect in (2.0, 4.0)}


@pytest.mark.parametrize("measure", MEASURES)
def test_the_false_discovery_rate_is_held_beside_planted_effects(planted, measure):
    for effect in (2.0, 4.0):
        assert not is_too_often(planted[effect][measure][:, 0], 0.1), effect


@pytest.mark.parametrize("measure", MEASURES)
def test_strong_effects_are_found_and_weak_ones_less_often(planted, measure):
    weak, strong = (planted[effect][measure][:, 1].mean() for effect in (2.0, 4.0))
    assert strong > 0.9
    assert weak < strong - 0.2


def test_a_screen_of_shuffled_labels_seldom_has_a_hit(n_of):
    n_screens = n_of(N_SCREENS, 0.25)
    found = discoveries(n_screens, gene_effect=4.0, is_shuffled=True)
    for measure in MEASURES:
        n_with_hits = (found[measure][:, 0] > 0).sum()
        assert n_with_hits <= binom.ppf(0.999, n_screens, 0.1), measure


def test_p_values_of_the_two_step_test_are_uniform(n_of):
    """One perturbation per screen; the second step has permutations of its own."""
    found = []
    for seed in range(n_of(400)):
        judged = simulate_map(SimulatedWells(seed=seed, **{**SCREEN, "gene_effect": 0.0, "n_compounds": 0}))
        parameters = HitParameters(n_permutations=n_of(1999, 0.25), seed=seed + 10_000)
        tested = units_tested(judged, "perturbation_magnitude", SETTINGS["perturbation_magnitude"], parameters)
        found.append(list(tested.values())[seed % len(tested)].p_value)
    assert kstest(found, "uniform").pvalue > 0.01
    assert sum(p <= 0.05 for p in found) <= binom.ppf(0.99, len(found), 0.05)


def screen_of_doses(seed, *, active_share, effect=5.0):
    """A map whose compounds act from a random dose on, and that dose by compound (none: it does not act)."""
    design = SimulatedWells(
        seed=seed, **{**SCREEN, "n_lone_genes": 4, "gene_effect": 0.0, "n_compounds": 16, "n_doses": 4}
    )
    wells, _ = simulate_wells(design)
    values, rng = vectors(wells).astype(float), np.random.default_rng(seed + 20_000)
    doses = wells["concentration_um"].drop_nulls().unique().sort().to_list()
    truth = {}
    for name in wells["compound_id"].drop_nulls().unique().sort().to_list():
        truth[name] = doses[rng.integers(4)] if rng.random() < active_share else np.inf
        direction = rng.standard_normal(values.shape[1])
        is_own = (pl.col("compound_id") == name) & (pl.col("concentration_um") >= truth[name])
        own = wells.select(is_own).to_series().fill_null(value=False).to_numpy()
        values[own] += effect * direction / np.linalg.norm(direction)
    aligned, map_table = map_wells(with_vectors(wells, values))
    return judged_map(aligned, map_table, parameters=SIMULATED_MAP), truth


@pytest.mark.parametrize("active_share", [0.5, 1.0])
def test_lowest_active_doses_are_seldom_too_low_and_mostly_exact(n_of, active_share):
    too_low, exact = [], []
    for seed in range(n_of(60, 0.25)):
        judged, truth = screen_of_doses(seed, active_share=active_share)
        rows = lowest_active_doses(judged, HitParameters(n_dose_permutations=199, seed=seed, fdr=0.1))
        called = dict(rows.select("compound_id", "lowest_active_um").drop_nulls().rows())
        too_low.append(sum(dose < truth[name] for name, dose in called.items()) / max(1, len(called)))
        active = [name for name, dose in truth.items() if np.isfinite(dose)]
        exact.append(np.mean([called.get(name) == truth[name] for name in active]))
    assert not is_too_often(too_low, 0.1)
    assert np.mean(exact) > 0.8


def lone_genes(seed):
    """Half of 48 genes have an effect of their own; pairs are drawn among them at random, so they mean nothing."""
    design = {**SCREEN, "n_compounds": 0, "n_lone_genes": 48, "gene_effect": 0.0}
    wells, _ = simulate_wells(SimulatedWells(seed=seed, **design))
    values, rng = vectors(wells).astype(float), np.random.default_rng(seed + 30_000)
    genes = wells["gene_symbol"].drop_nulls().unique().sort().to_list()
    for gene in genes[::2]:
        direction = rng.standard_normal(values.shape[1])
        values[(wells["gene_symbol"] == gene).fill_null(value=False).to_numpy()] += (
            4.0 * direction / np.linalg.norm(direction)
        )
    shuffled = rng.permutation(genes).reshape(-1, 2)
    more = rng.permutation(genes).reshape(-1, 2)
    pairs = pl.DataFrame(np.unique(np.sort(np.concatenate([shuffled, more])), axis=0), schema=["entity1", "entity2"])
    aligned, map_table = map_wells(with_vectors(wells, values))
    annotations = Annotations(pairs={"random": pairs})
    return judged_map(aligned, map_table, parameters=SIMULATED_MAP, annotations=annotations)


def recall_p_value(judged, active, seed):
    chosen = SETTINGS["known_relationships"].model_copy(update={"seed": seed + 10_000})
    rows, _ = score_active(judged, active, {**SETTINGS, "known_relationships": chosen})
    return rows.filter(pl.col("metric") == "recall")["p_value"][0]


def test_recall_among_active_genes_is_uniform_where_pairs_mean_nothing(n_of):
    found = []
    for seed in range(n_of(160)):
        judged = lone_genes(seed)
        parameters = HitParameters(n_permutations=99, measure="perturbation_magnitude", seed=seed, fdr=0.2)
        active = call_hits(judged, SETTINGS, parameters).filter("is_active")["perturbation_id"].to_list()
        found.append(recall_p_value(judged, active, seed))
    assert (np.array(found) <= 0.05).sum() <= binom.ppf(0.99, len(found), 0.05)
    assert kstest(found, "uniform").pvalue > 0.01


def guides_of_nothing(seed):
    """24 genes with two guides; each guide has an effect of its own, so guides of a gene share nothing."""
    design = {**SCREEN, "n_compounds": 0, "n_lone_genes": 24, "n_guides_per_gene": 2, "gene_effect": 0.0}
    wells, _ = simulate_wells(SimulatedWells(seed=seed, **design))
    values, rng = vectors(wells).astype(float), np.random.default_rng(seed + 40_000)
    for number, guide in enumerate(wells["guide_id"].drop_nulls().unique().sort().to_list()):
        direction = rng.standard_normal(values.shape[1])
        effect = 4.0 if number % 3 else 0.0
        values[(wells["guide_id"] == guide).fill_null(value=False).to_numpy()] += (
            effect * direction / np.linalg.norm(direction)
        )
    parameters = SIMULATED_MAP.model_copy(update={"aggregate_by": "perturbation"})
    aligned, map_table = map_wells(with_vectors(wells, values), parameters)
    return judged_map(aligned, map_table, parameters=parameters)


def test_consistency_among_active_guides_is_uniform_where_guides_of_a_gene_share_nothing(n_of):
    found = []
    for seed in range(n_of(160)):
        judged = guides_of_nothing(seed)
        parameters = HitParameters(n_permutations=99, measure="perturbation_magnitude", seed=seed, fdr=0.2)
        active = call_hits(judged, SETTINGS, parameters).filter("is_active")["perturbation_id"].to_list()
        chosen = SETTINGS["phenotypic_consistency"].model_copy(update={"seed": seed + 10_000})
        rows, _ = score_active(judged, active, {**SETTINGS, "phenotypic_consistency": chosen})
        found.append(rows.filter(pl.col("metric") == "mean_average_precision")["p_value"][0])
    assert (np.array(found) <= 0.05).sum() <= binom.ppf(0.99, len(found), 0.05)
    assert kstest(found, "uniform").pvalue > 0.01
