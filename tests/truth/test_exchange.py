"""Names are exchanged among units on the same plates only: what plates and batches share is in the null distribution.

Nothing is planted. The genes of a complex are in the same two of four batches, which differ by six standard deviations
of a well's noise and are not aligned: genes are alike because their batches are.
"""

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks import map_genes
from cellassets.benchmarks.judged import judged_map
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.studies.simulated import SIMULATED_MAP, annotations_of, map_wells
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells

N_SCREENS, N_SIZE = 60, 3
BATCHES = ("SIM-1", "SIM-2", "SIM-3", "SIM-4")


def in_some_batches(wells, n_kept, rng):
    """The wells without those of the batches that a gene is not in; three genes in a row are in the same."""
    genes = wells["gene_symbol"].drop_nulls().unique().sort().to_list()
    chosen = [rng.choice(BATCHES, n_kept, replace=False) for _ in genes[::N_SIZE]]
    kept = [(gene, batch) for number, gene in enumerate(genes) for batch in chosen[number // N_SIZE]]
    table = pl.DataFrame(kept, schema={"gene_symbol": pl.String, "batch_id": pl.String}, orient="row")
    treated = wells.join(table, on=["gene_symbol", "batch_id"], how="semi")
    return pl.concat([wells.filter(pl.col("gene_symbol").is_null()), treated])


def recall_of(seed, *, n_kept=2, is_aligned=False, **design):
    """The headline of known relationships on one screen."""
    nuisances = {"n_batches": 4, "n_plates_per_batch": 1, "batch_effect": 6.0, "plate_effect": 3.0}
    chosen = SimulatedWells(seed=seed, n_complexes=8, n_lone_genes=24, **{"gene_effect": 0.0, **nuisances, **design})
    wells, known = simulate_wells(chosen)
    wells = in_some_batches(wells, n_kept, np.random.default_rng(seed + 70_000))
    parameters = SIMULATED_MAP if is_aligned else SIMULATED_MAP.model_copy(update={"steps": ()})
    judged = judged_map(*map_wells(wells, parameters), parameters=parameters, annotations=annotations_of(known))
    benchmark = BENCHMARKS["known_relationships"]
    return benchmark.score(judged, benchmark.parameters(n_permutations=199, seed=seed + 10_000))[0]


@pytest.mark.parametrize("n_kept", [2, 3])
def test_complexes_that_share_their_batches_are_not_taken_for_related(n_kept):
    p_values = np.array([recall_of(seed, n_kept=n_kept).p_value for seed in range(N_SCREENS)])
    assert (p_values <= 0.05).sum() <= 8  # binomial, 99.5%


def main_plates(judged, units, _parameters=None):
    """The plate with the largest number of wells of each unit, the first of several: the rule before."""
    labels = np.array(judged.units)
    return np.array([np.bincount(judged.plate_index[labels == unit]).argmax() for unit in units])


def test_strata_by_the_plate_with_most_wells_would_take_them_for_related(monkeypatch):
    monkeypatch.setattr(map_genes, "plate_strata", main_plates)
    p_values = np.array([recall_of(seed).p_value for seed in range(20)])
    assert (p_values <= 0.05).mean() > 0.3


@pytest.mark.parametrize("n_kept", [2, 4])
def test_planted_complexes_are_found_in_aligned_maps(n_kept):
    found = [recall_of(seed, n_kept=n_kept, is_aligned=True, gene_effect=4.0) for seed in range(10)]
    assert np.median([row.p_value for row in found]) == 1 / 200
