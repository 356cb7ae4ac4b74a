"""The stage: from a lake with embeddings to a published map."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from upath import UPath

from cellassets.configuration import load_yaml
from cellassets.errors import AlignmentError, ArtifactMissing
from cellassets.mapping.build import MapParameters, build_map, map_held_out_controls, plan_map
from cellassets.mapping.dataset import Dataset
from cellassets.tables.parquet import read_table, vectors
from cellassets.tables.schemas import BATCH_EFFECT, PERTURBATION_MAP, WELL_EMBEDDINGS

MODEL = "m.v1"
DATASET = Dataset(dataset_id="SIM", cell_types=("SIM",))
PARAMETERS = MapParameters.model_validate(
    {"steps": ({"kind": "pca", "n_components": 12}, {"kind": "centre_scale"}, {"kind": "tvn"})}
)
SCHEMAS = {
    "map.parquet": PERTURBATION_MAP,
    "wells.parquet": WELL_EMBEDDINGS,
    "wells_raw.parquet": WELL_EMBEDDINGS,
    "batch_effect.parquet": BATCH_EFFECT,
}


def build(simulated, dataset=DATASET, parameters=PARAMETERS, **options):
    return build_map(simulated.lake, dataset, model_key=MODEL, parameters=parameters, **options)


def tables(simulated, record, dataset=DATASET):
    artifact = simulated.lake.perturbation_map(dataset.dataset_id, MODEL)
    return {name: read_table(artifact.path(name, record), schema) for name, schema in SCHEMAS.items()}


def test_a_map_has_one_row_per_gene_and_its_wells(simulate):
    simulated = simulate(seed=1)
    record = build(simulated)
    found = tables(simulated, record)
    assert found["map.parquet"].height == 36 + 1
    assert found["wells.parquet"].height == found["wells_raw.parquet"].height == 288
    assert vectors(found["map.parquet"]).shape[1] == vectors(found["wells.parquet"]).shape[1] == 12
    np.testing.assert_allclose(
        vectors(found["wells_raw.parquet"].sort("experiment_id", "plate_id", "well_id")),
        vectors(simulated.wells.sort("experiment_id", "plate_id", "well_id")),
        atol=1e-5,
    )
    assert record.summary["n_perturbations"] == 36
    assert record.summary["n_controls_held_out"] == 36
    steps = found["batch_effect.parquet"].filter(pl.col("metric") == "batch_accuracy")["step"].to_list()
    assert steps == ["raw", "pca", "centre_scale", "tvn"]
    assert record.summary["batch_accuracy_aligned"] + 0.2 < record.summary["batch_accuracy_raw"]


def test_a_map_is_made_once_and_again_when_an_input_changes(simulate):
    simulated = simulate(seed=1)
    first = build(simulated)
    assert build(simulated) == first
    simulated.judge_quality("SIM-1", flagged={("Plate1", "A01", 1), ("Plate1", "A02", 1), ("Plate1", "A02", 2)})
    second = build(simulated)
    assert (second.generation, second.summary["n_sites_flagged"], second.summary["n_wells_dropped"]) == (2, 3, 1)
    other = PARAMETERS.model_copy(update={"aggregation": "geometric_median"})
    assert build(simulated, parameters=other).fingerprint != second.fingerprint


def test_the_same_inputs_give_equal_bytes(simulate):
    simulated = simulate(seed=2)
    record = build(simulated)
    artifact = simulated.lake.perturbation_map("SIM", MODEL)
    before = {entry.name: artifact.path(entry.name, record).read_bytes() for entry in record.files}
    (artifact.root / "record.json").unlink()
    again = build(simulated)
    assert {entry.name: artifact.path(entry.name, again).read_bytes() for entry in again.files} == before


def test_batches_may_be_plates(simulate):
    simulated = simulate(seed=1)
    by_plate = Dataset(dataset_id="plates", batch_by="plate")
    found = tables(simulated, build(simulated, by_plate), by_plate)
    assert found["wells.parquet"]["batch_id"].unique().sort().to_list()[:2] == ["SIM-1/Plate1", "SIM-1/Plate2"]


def test_fitted_controls_end_at_zero_mean_in_every_batch_and_held_out_ones_do_not(simulate):
    simulated = simulate(seed=3)
    wells = tables(simulated, build(simulated))["wells.parquet"]
    is_held_out = map_held_out_controls(wells, PARAMETERS)
    is_fitted = (wells["control_kind"] == "negative").fill_null(value=False).to_numpy() & ~is_held_out
    for batch in ("SIM-1", "SIM-2", "SIM-3"):
        in_batch = (wells["batch_id"] == batch).to_numpy()
        assert np.abs(vectors(wells)[is_fitted & in_batch].mean(axis=0)).max() < 1e-5
        assert np.abs(vectors(wells)[is_held_out & in_batch].mean(axis=0)).max() > 0.05


def test_missing_inputs_are_refused_before_anything_is_read(simulate):
    simulated = simulate()
    with pytest.raises(ArtifactMissing):
        plan_map(simulated.lake, DATASET, model_key="n.v1", parameters=PARAMETERS)


def test_a_batch_without_controls_is_named(simulate):
    simulated = simulate(n_controls_per_plate=2, n_plates_per_batch=1)
    with pytest.raises(AlignmentError, match="SIM-1 has 2, SIM-2 has 2, SIM-3 has 2; each batch needs 3"):
        build(simulated)


def test_a_dataset_without_a_usable_site_is_refused(simulate):
    simulated = simulate(n_batches=1)
    every = {(row["plate_id"], row["well_id"], row["site_index"]) for row in simulated.sites("SIM-1").to_dicts()}
    simulated.judge_quality("SIM-1", flagged=every)
    with pytest.raises(AlignmentError, match="dataset SIM: no well of 1 experiments has a usable site"):
        build(simulated)


def test_progress_ends_at_its_total(simulate):
    told = []
    build(simulate(), progress=lambda done, total, what: told.append((done, total, what)))
    assert told[-1] == (3, 3, "aligned: tvn")
    assert (3, 3, "wells of SIM-3") in told


def test_the_repositorys_parameters_are_valid():
    parameters = load_yaml(UPath(Path(__file__).parents[2] / "configs/mapping.yaml"), MapParameters)
    assert [step.kind for step in parameters.steps] == ["pca", "centre_scale", "tvn"]
