"""From the tables of experiments to a map."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from upath import UPath

from cellassets.configuration import load_yaml
from cellassets.errors import AlignmentError
from cellassets.mapping.build import MapParameters, build_map, map_held_out_controls, summarise
from cellassets.mapping.dataset import Dataset
from cellassets.tables.parquet import vectors

DATASET = Dataset(dataset_id="SIM", cell_types=("SIM",))
PARAMETERS = MapParameters.model_validate(
    {"steps": ({"kind": "pca", "n_components": 12}, {"kind": "centre_scale"}, {"kind": "tvn"})}
)
IDENTITY = {"dataset_fingerprint": "wells", "protocol_fingerprint": "protocol", "experiments": ("SIM-1",)}


def build(simulated, dataset=DATASET, parameters=PARAMETERS, flagged=(), **options):
    return build_map(simulated.inputs(flagged), dataset, parameters, **options)


def test_a_map_has_one_row_per_gene_and_its_wells(screen):
    simulated = screen(seed=1)
    built = build(simulated)
    assert built.units.height == 36 + 1
    assert built.wells.height == built.wells_raw.height == 288
    assert vectors(built.units).shape[1] == vectors(built.wells).shape[1] == 12
    np.testing.assert_allclose(
        vectors(built.wells_raw.sort("experiment_id", "plate_id", "well_id")),
        vectors(simulated.wells.sort("experiment_id", "plate_id", "well_id")),
        atol=1e-5,
    )
    summary = summarise(built, PARAMETERS, **IDENTITY)
    assert (summary.n_perturbations, summary.n_controls_held_out) == (36, 36)
    steps = built.batch_effect.filter(pl.col("metric") == "batch_accuracy")["step"].to_list()
    assert steps == ["raw", "pca", "centre_scale", "tvn"]
    assert summary.batch_effect["batch_accuracy_aligned"] + 0.2 < summary.batch_effect["batch_accuracy_raw"]


def test_flagged_sites_and_wells_without_a_site_are_left_out_and_counted(screen):
    flagged = {("Plate1", "A01", 1), ("Plate1", "A02", 1), ("Plate1", "A02", 2)}
    built = build(screen(seed=1, n_batches=1), flagged=flagged)
    assert (built.n_sites_flagged, built.n_wells_dropped) == (3, 1)


def test_the_same_inputs_give_equal_tables(screen):
    first, again = build(screen(seed=2)), build(screen(seed=2))
    for name in ("units", "wells", "wells_raw", "batch_effect"):
        assert getattr(first, name).equals(getattr(again, name))


def test_batches_may_be_plates(screen):
    built = build(screen(seed=1), Dataset(dataset_id="plates", batch_by="plate"))
    assert built.wells["batch_id"].unique().sort().to_list()[:2] == ["SIM-1/Plate1", "SIM-1/Plate2"]


def test_fitted_controls_end_at_zero_mean_in_every_batch_and_held_out_ones_do_not(screen):
    wells = build(screen(seed=3)).wells
    is_held_out = map_held_out_controls(wells, PARAMETERS)
    is_fitted = (wells["control_kind"] == "negative").fill_null(value=False).to_numpy() & ~is_held_out
    for batch in ("SIM-1", "SIM-2", "SIM-3"):
        in_batch = (wells["batch_id"] == batch).to_numpy()
        assert np.abs(vectors(wells)[is_fitted & in_batch].mean(axis=0)).max() < 1e-5
        assert np.abs(vectors(wells)[is_held_out & in_batch].mean(axis=0)).max() > 0.05


def test_a_batch_without_controls_is_named(screen):
    with pytest.raises(AlignmentError, match="SIM-1 has 2, SIM-2 has 2, SIM-3 has 2; each batch needs 3"):
        build(screen(n_controls_per_plate=2, n_plates_per_batch=1))


def test_a_dataset_without_a_usable_site_is_refused(screen):
    simulated = screen(n_batches=1)
    with pytest.raises(AlignmentError, match="dataset SIM: no well of 1 experiments has a usable site"):
        build(simulated, flagged=simulated.sites("SIM-1"))


def test_progress_ends_at_its_total(screen):
    told = []
    build(screen(), progress=lambda done, total, what: told.append((done, total, what)))
    assert told[-1] == (3, 3, "aligned: tvn")


def test_the_repositorys_parameters_are_valid():
    parameters = load_yaml(UPath(Path(__file__).parents[2] / "configs/mapping.yaml"), MapParameters)
    assert [step.kind for step in parameters.steps] == ["pca", "centre_scale", "tvn"]
