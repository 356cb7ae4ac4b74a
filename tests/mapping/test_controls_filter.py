"""Which controls are held out; which sites are left out."""

import numpy as np
import polars as pl
import pytest

from cellassets.errors import AlignmentError
from cellassets.mapping.controls import hold_out_controls, is_negative_control
from cellassets.mapping.dataset import QualityLimits
from cellassets.mapping.filter import check_finite, filter_wells
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import vectors, with_vectors

KEYS = ["experiment_id", "plate_id", "well_id"]


@pytest.fixture
def wells():
    return simulate_wells(SimulatedWells(n_controls_per_plate=9))[0]


def n_held_out(wells, *columns, **options):
    is_held_out = hold_out_controls(wells, options.pop("frac", 0.5), **{"min_controls": 3, "seed": 0, **options})
    assert not (is_held_out & ~is_negative_control(wells)).any()
    return wells.with_columns(pl.Series("held", is_held_out)).group_by(columns).agg(pl.col("held").sum())


def test_half_of_each_batchs_controls_are_held_out_on_all_its_plates(wells):
    assert n_held_out(wells, "batch_id")["held"].to_list() == [9, 9, 9]  # of 18
    assert set(n_held_out(wells, "batch_id", "plate_id")["held"]) <= {4, 5}


@pytest.mark.parametrize(("frac", "min_controls", "expected"), [(0.0, 3, 0), (0.9, 3, 15), (0.9, 2, 16), (0.5, 40, 0)])
def test_enough_controls_stay_for_the_fit(wells, frac, min_controls, expected):
    found = n_held_out(wells, "batch_id", frac=frac, min_controls=min_controls)
    assert found["held"].to_list() == [expected] * 3


def test_the_choice_depends_on_the_seed_and_not_on_the_order(wells):
    order = np.random.default_rng(0).permutation(wells.height)
    first = hold_out_controls(wells, 0.5, min_controls=3, seed=0)
    np.testing.assert_array_equal(first[order], hold_out_controls(wells[order], 0.5, min_controls=3, seed=0))
    assert (first != hold_out_controls(wells, 0.5, min_controls=3, seed=1)).any()


@pytest.fixture
def experiment():
    """Sites, quality and wells of one experiment: site 1 holds the well's vector plus 1, site 2 minus 1."""
    wells = simulate_wells(SimulatedWells(n_batches=1))[0]
    sites = wells.select(KEYS).join(pl.DataFrame({"site_index": [1, 2]}), how="cross", maintain_order="left")
    values = np.repeat(vectors(wells), 2, axis=0) + np.tile([[1.0], [-1.0]], (wells.height, 1))
    return with_vectors(sites, values), sites.with_columns(is_flagged=pl.lit(value=False)), wells.drop("embedding")


def test_a_well_is_the_mean_of_its_sites(experiment):
    sites, quality, wells = experiment
    filtered = filter_wells(sites, quality, wells)
    expected = vectors(simulate_wells(SimulatedWells(n_batches=1))[0].sort(KEYS))
    np.testing.assert_allclose(vectors(filtered.wells.sort(KEYS)), expected, atol=1e-5)
    assert filtered.wells["n_sites"].unique().to_list() == [2]
    assert (filtered.n_sites_flagged, filtered.n_wells_dropped) == (0, 0)


def test_flagged_sites_are_left_out_and_wells_without_any_dropped(experiment):
    sites, quality, wells = experiment
    is_flagged = ((pl.col("well_id") == "A01") & (pl.col("site_index") == 1)) | (pl.col("well_id") == "A02")
    filtered = filter_wells(sites, quality.with_columns(is_flagged=is_flagged), wells)
    assert (filtered.n_sites_flagged, filtered.n_wells_dropped) == (2 + 4, 2)
    left = filtered.wells.filter((pl.col("plate_id") == "Plate1") & (pl.col("well_id") == "A01"))
    site = sites.filter((pl.col("plate_id") == "Plate1") & (pl.col("well_id") == "A01") & (pl.col("site_index") == 2))
    assert left["n_sites"].to_list() == [1]
    np.testing.assert_allclose(vectors(left), vectors(site))


@pytest.mark.parametrize(
    ("limits", "n_out"),
    [
        ({}, 0),
        ({"min_nuclei": 5}, 2),
        ({"min_focus": -2.0}, 2),
        ({"max_saturation_frac": 0.1}, 2),
        ({"min_nuclei": 5, "min_focus": -2.0, "min_sites_per_well": 2}, 2),
    ],
)
def test_a_dataset_may_ask_for_more_than_the_flags_do(experiment, limits, n_out):
    sites, quality, wells = experiment
    is_poor = (pl.col("well_id") == "A01") & (pl.col("site_index") == 1)
    poor = {"n_nuclei": 4, "focus": -3.0, "saturation_frac": 0.2}
    good = {"n_nuclei": 50, "focus": -1.0, "saturation_frac": 0.0}
    judged = quality.with_columns(**{name: pl.when(is_poor).then(poor[name]).otherwise(good[name]) for name in poor})
    filtered = filter_wells(sites, judged, wells, limits=QualityLimits(**limits))
    assert filtered.n_sites_flagged == n_out
    assert filtered.n_wells_dropped == (2 if "min_sites_per_well" in limits else 0)


def test_an_experiment_whose_sites_are_all_flagged_has_no_wells(experiment):
    sites, quality, wells = experiment
    filtered = filter_wells(sites, quality.with_columns(is_flagged=pl.lit(value=True)), wells)
    assert (filtered.wells.height, filtered.n_wells_dropped) == (0, wells.height)


def test_wells_outside_the_dataset_are_not_asked_for(experiment):
    sites, quality, wells = experiment
    filtered = filter_wells(sites, quality, wells[:5])
    assert (filtered.wells.height, filtered.n_wells_dropped) == (5, 0)


def test_a_site_without_quality_is_named(experiment):
    sites, quality, wells = experiment
    with pytest.raises(AlignmentError, match=r"SIM-1, plate Plate1, well A01, site\s+2: it has an embedding but no"):
        filter_wells(sites, quality.filter((pl.col("well_id") != "A01") | (pl.col("site_index") == 1)), wells)


def test_a_vector_that_is_not_finite_is_named(experiment):
    _, _, wells = experiment
    values = np.zeros((wells.height, 2))
    values[[3, 7], 1] = np.nan
    with pytest.raises(AlignmentError, match=r"plate Plate1, well A04: .*not finite \(2 such wells\)"):
        check_finite(wells, values)
