"""Replicates that are near to each other on their plates are noticed, and those of random layouts are not."""

import numpy as np
import polars as pl
import pytest

from cellassets.mapping.replicate_places import replicate_distances
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells

PLATES = {"n_batches": 2, "n_plates_per_batch": 2, "n_complexes": 6, "n_lone_genes": 30}


def distances(wells, units=None, seed=0):
    return replicate_distances(wells, units or wells["perturbation_id"].to_list(), seed=seed)


def of_layout(**design):
    return distances(simulate_wells(SimulatedWells(**{**PLATES, **design}))[0])


def test_neighbours_on_a_plate_are_near_whether_or_not_the_layout_changes_between_plates():
    for layout in ("fixed", "new"):
        found = of_layout(layout=layout, n_wells_per_plate=2)
        assert found["same_plate"].frac < 0.15  # one well, of about ten between random wells of 16 x 24
        assert found["same_plate"].p_value == 1 / 200


def test_fixed_places_are_near_between_plates_and_new_ones_are_not():
    assert of_layout(layout="fixed", n_wells_per_plate=1)["other_plate"].frac == 0.0
    neighbours = of_layout(layout="fixed", n_wells_per_plate=2)["other_plate"]  # half a well on average
    assert neighbours.frac < 0.1
    assert neighbours.p_value == 1 / 200
    assert of_layout(layout="new", n_wells_per_plate=2)["other_plate"].frac > 0.85


def test_a_random_layout_is_seldom_near():
    wells, _ = simulate_wells(SimulatedWells(**PLATES, n_wells_per_plate=2, layout="new"))
    p_values, fractions = [], []
    for seed in range(40):
        order = np.random.default_rng(seed).permutation(wells.height)
        by_plate = wells[order].sort("experiment_id", "plate_id", maintain_order=True)
        shuffled = by_plate.with_columns(wells.sort("experiment_id", "plate_id", maintain_order=True)["well_id"])
        found = distances(shuffled, seed=seed)["same_plate"]
        p_values.append(found.p_value)
        fractions.append(found.frac)
    assert 0.9 < min(fractions) <= max(fractions) < 1.1
    assert 0.2 < np.mean(p_values) < 0.8
    assert (np.array(p_values) <= 0.05).sum() <= 6  # binomial, 99.5%


def test_the_share_is_that_of_distances_counted_by_hand():
    """Four wells in a row, pairs side by side: 1 well apart, where three ways to pair them are 1, 2 and 2 apart."""
    wells = pl.DataFrame(
        {
            "experiment_id": "E",
            "plate_id": "1",
            "well_id": ["A01", "A02", "A03", "A04"],
            "perturbation_id": ["a", "a", "b", "b"],
            "control_kind": pl.Series([None] * 4, dtype=pl.String),
        }
    )
    found = distances(wells)["same_plate"]
    assert found.frac == pytest.approx(1 / (5 / 3), abs=0.05)
    assert found.p_value == pytest.approx(1 / 3, abs=0.1)


def test_guides_of_a_gene_on_neighbouring_wells_are_noticed():
    wells, _ = simulate_wells(SimulatedWells(**PLATES, layout="new", n_wells_per_plate=2))
    turn = pl.int_range(pl.len()).over("experiment_id", "plate_id", "perturbation_id").cast(pl.String)
    name = pl.col("perturbation_id") + "_" + turn
    guides = wells.with_columns(pl.when(pl.col("control_kind").is_null()).then(name).otherwise("perturbation_id"))
    assert "same_plate" not in distances(guides)
    assert distances(guides, units=wells["perturbation_id"].to_list())["same_plate"].frac < 0.15


def test_without_replicates_there_is_nothing_to_measure():
    wells, _ = simulate_wells(SimulatedWells(n_batches=1, n_plates_per_batch=1))
    assert distances(wells) == {}
    assert distances(wells.filter(pl.col("control_kind").is_not_null())) == {}
