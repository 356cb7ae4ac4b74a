"""Aligning wells from files, in blocks, gives the same result as aligning them in memory."""

import numpy as np
import polars as pl
import pytest

from cellassets.errors import AlignmentError
from cellassets.mapping import source
from cellassets.mapping.affine import Aligned, GroupAffine, merged, run_chain
from cellassets.mapping.build import MapParameters, align_wells
from cellassets.mapping.controls import batch_design
from cellassets.mapping.moments import merge, moments_of, ridged_power, symmetric_power
from cellassets.mapping.source import ArrayWells
from cellassets.mapping.streaming import NpyWells, ParquetWells, align_to_npy
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import vectors, with_vectors

CHAINS = {
    "default": [{"kind": "pca", "n_components": 12}, {"kind": "centre_scale"}, {"kind": "tvn"}],
    "tvn": [{"kind": "tvn"}],
    "efaar": [{"kind": "efaar_pca", "n_components": 16}, {"kind": "efaar_tvn"}],
    "efaar_scaled": [
        {"kind": "efaar_centre", "fit_on": "all"},
        {"kind": "efaar_centre_scale"},
        {"kind": "efaar_centre_scale", "within": "dataset", "fit_on": "all"},
    ],
    "jump": [{"kind": "well_position", "min_wells": 40}, {"kind": "robust_z"}, {"kind": "sphering", "epsilon": 0.01}],
    "arms": [{"kind": "centre_scale"}, {"kind": "sphering", "within": "batch"}, {"kind": "chromosome_arm"}],
}
ARMS = pl.DataFrame({"gene_symbol": [f"GENE{n:03d}" for n in range(36)], "chromosome_arm": ["1p"] * 22 + ["2q"] * 14})


@pytest.fixture
def wells():
    """Wells in an order that mixes batches and plates, far from the origin."""
    wells, _ = simulate_wells(SimulatedWells(n_controls_per_plate=16))
    order = np.random.default_rng(0).permutation(wells.height)
    return with_vectors(wells, vectors(wells) + np.float32(20.0))[order]


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_wells_from_files_are_aligned_as_wells_in_memory(wells, tmp_path, monkeypatch, chain, kind):
    parameters = MapParameters.model_validate({"steps": CHAINS[chain]})
    nothing = np.zeros(wells.height, dtype=bool)
    expected, _ = align_wells(wells, nothing, parameters, gene_arms=ARMS)
    monkeypatch.setattr(source, "BLOCK_BYTES", 37 * 24 * 8)  # 37 wells
    if kind == "npy":
        np.save(tmp_path / "wells.npy", vectors(wells))
        wells_on_disk = NpyWells(tmp_path / "wells.npy")
    else:
        wells[:100].write_parquet(tmp_path / "a.parquet", row_group_size=30)
        wells[100:].write_parquet(tmp_path / "b.parquet", row_group_size=64)
        wells_on_disk = ParquetWells([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    design = batch_design(wells, nothing, gene_arms=ARMS)
    align_to_npy(wells_on_disk, design, parameters.steps, tmp_path / "aligned.npy")
    found = np.load(tmp_path / "aligned.npy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_a_design_of_other_wells_is_refused(wells, tmp_path):
    design = batch_design(wells[:50], np.zeros(50, dtype=bool))
    with pytest.raises(AlignmentError, match=f"{wells.height} wells in the source and 50 in the design"):
        align_to_npy(ArrayWells(vectors(wells)), design, [], tmp_path / "aligned.npy")


def test_blocks_have_the_moments_of_the_whole():
    values = np.random.default_rng(0).standard_normal((100, 4)) + 1e4
    for has_products in (True, False):
        parts = [moments_of(part, has_products=has_products) for part in (values[:1], values[1:30], values[30:])]
        whole, found = moments_of(values, has_products=has_products), merge(parts)
        assert found.n == 100
        np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-13)
        np.testing.assert_allclose(found.scatter, whole.scatter, atol=1e-8)


@pytest.mark.parametrize("exponent", [-0.5, 0.5])
def test_few_rows_have_the_ridged_power_of_their_large_matrix(exponent):
    rows = np.random.default_rng(0).standard_normal((5, 12))
    rows[4] = rows[3]  # and an eigenvalue of 0
    whole = symmetric_power(0.25 * rows.T @ rows + 0.5 * np.eye(12), exponent)
    np.testing.assert_allclose(ridged_power(rows, 0.25, 0.5, exponent), whole, atol=1e-12)


def affine(rng, index, kind, n_groups):
    shape = (n_groups, 4) if kind == "scale" else (n_groups, 4, 4)
    return GroupAffine(index, rng.standard_normal(shape), rng.standard_normal((n_groups, 4)))


@pytest.mark.parametrize("first", [("scale", 1), ("scale", 3), ("matrix", 1), ("matrix", 3)])
@pytest.mark.parametrize("second", [("scale", 1), ("scale", 3), ("matrix", 1), ("matrix", 3)])
def test_merged_maps_equal_the_maps_applied_in_turn(first, second):
    rng, index = np.random.default_rng(0), np.arange(60) % 3
    chain = tuple(affine(rng, index if n > 1 else None, kind, n) for kind, n in (first, second))
    values, rows = rng.standard_normal((60, 4)), np.arange(60)
    assert len(merged(chain, 4)) == 1
    np.testing.assert_allclose(run_chain(merged(chain, 4), values, rows), run_chain(chain, values, rows), atol=1e-12)


def test_maps_of_different_or_of_small_groups_are_not_merged():
    rng = np.random.default_rng(0)
    batch, plate = np.arange(60) % 3, np.arange(60) % 20
    by_batch, by_plate = affine(rng, batch, "matrix", 3), affine(rng, plate, "matrix", 20)
    assert len(merged((by_batch, by_plate), 4)) == 2
    assert len(merged((affine(rng, None, "matrix", 1), by_plate), 4)) == 2
    assert Aligned(ArrayWells(rng.standard_normal((60, 4))), (by_batch,)).n_features == 4
