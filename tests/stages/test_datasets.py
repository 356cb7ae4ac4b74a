"""Datasets of a deployment: which experiments and wells they hold, and when they are the same wells."""

import polars as pl
import pytest

from cellassets.errors import DatasetError
from cellassets.stages.catalogue import open_snapshot
from cellassets.stages.datasets import (
    dataset_experiments,
    dataset_fingerprint,
    dataset_names,
    dataset_problem,
    frozen_dataset,
)
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import WELL_EMBEDDINGS

ANY = {"cell_types": ["SIM"]}


@pytest.fixture
def landed(simulate):
    """Three experiments of SIM; the third also has a few wells of OTHER."""
    simulated = simulate(n_batches=3, n_plates_per_batch=1)
    third = simulated.wells.filter(pl.col("experiment_id") == "SIM-3")
    is_other = pl.int_range(pl.len()) < 5
    land(
        simulated, third.with_columns(pl.when(is_other).then(pl.lit("OTHER")).otherwise("cell_type").alias("cell_type"))
    )
    return simulated


def land(simulated, wells, experiment_id=None):
    """Lands wells, under another name if one is given."""
    experiment_id = experiment_id or wells["experiment_id"][0]
    wells = wells.with_columns(pl.lit(experiment_id).alias("experiment_id"))
    simulated.land(experiment_id, wells)
    simulated.make("plate_store", experiment_id)
    simulated.judge_quality(experiment_id)
    simulated.embed(experiment_id, "m.v1", wells)


def version(simulated, dataset_id="SIM"):
    return dataset_fingerprint(open_snapshot(simulated.deployment), dataset_id)


def first(simulated):
    return simulated.wells.filter(pl.col("experiment_id") == "SIM-1")


def test_each_cell_type_that_has_landed_is_a_dataset(landed):
    snapshot = open_snapshot(landed.deployment)
    assert dataset_names(snapshot) == ("OTHER", "SIM")
    assert dataset_experiments(snapshot, "OTHER") == ("SIM-3",)
    assert dataset_experiments(snapshot, "SIM") == ("SIM-1", "SIM-2", "SIM-3")


def test_a_map_holds_the_wells_of_its_dataset_and_controls_whatever_the_kind(simulate):
    simulated = simulate(n_compounds=3, n_doses=2)
    simulated.set("datasets/compounds.yaml", {"perturbation_kinds": ["compound"]})
    wells = read_table(simulated.make("perturbation_map", "compounds", "m.v1").path("wells.parquet"), WELL_EMBEDDINGS)
    assert set(wells.filter(pl.col("control_kind").is_null())["perturbation_kind"]) == {"compound"}
    assert wells.filter(pl.col("control_kind") == "negative").height == 3 * 2 * 12


def test_a_dataset_without_a_well_is_refused_with_its_name(simulate):
    simulated = simulate(n_controls_per_plate=2)
    wells = first(simulated)
    simulated.set("datasets/none.yaml", {"experiment_ids": ["GENES"], "perturbation_kinds": ["compound"]})
    land(simulated, wells.filter(pl.col("control_kind").is_null()), "GENES")
    with pytest.raises(DatasetError, match="dataset none: no well fits cell_types and perturbation_kinds"):
        simulated.make("perturbation_map", "none", "m.v1")


def test_the_fingerprint_is_of_the_wells_and_of_nothing_else(landed):
    landed.set("datasets/another.yaml", ANY)
    before = version(landed)
    assert version(landed, "another") == before
    land(landed, first(landed).reverse())
    assert version(landed) == before
    land(landed, first(landed)[1:])
    assert version(landed) != before
    assert version(landed, "another") == version(landed)


@pytest.mark.parametrize("column", ["perturbation_id", "gene_symbol", "cell_type"])
def test_a_well_with_another_content_is_another_well(landed, column):
    landed.set("datasets/d.yaml", {"experiment_ids": ["SIM-1"]})
    before = version(landed, "d")
    changed = pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("x")).otherwise(pl.col(column)).alias(column)
    land(landed, first(landed).with_columns(changed))
    assert version(landed, "d") != before


def test_an_experiment_that_lands_changes_the_datasets_it_belongs_to(landed):
    landed.set("datasets/some.yaml", {"experiment_ids": ["SIM-1", "SIM-2"]})
    before = version(landed), version(landed, "some")
    land(landed, first(landed), "SIM-4")
    assert version(landed) != before[0]
    assert version(landed, "some") == before[1]


def freeze(simulated, dataset_id, values):
    simulated.set(f"datasets/{dataset_id}.yaml", values)
    fixed = frozen_dataset(open_snapshot(simulated.deployment), dataset_id)
    simulated.set(f"datasets/{dataset_id}.yaml", fixed.model_dump(mode="json", exclude={"dataset_id"}))
    return fixed


def test_a_frozen_dataset_refuses_other_wells(landed):
    fixed = freeze(landed, "d", {"experiment_ids": ["SIM-1"]})
    assert version(landed, "d") == fixed.frozen_fingerprint
    land(landed, first(landed)[1:])
    with pytest.raises(DatasetError, match="dataset d is frozen with wells"):
        version(landed, "d")
    assert "frozen with wells" in dataset_problem(open_snapshot(landed.deployment), "d")


def test_a_frozen_dataset_stays_as_it_is_when_more_lands(landed):
    fixed = freeze(landed, "d", ANY)
    assert fixed.experiment_ids == ("SIM-1", "SIM-2", "SIM-3")
    before = landed.make("perturbation_map", "d", "m.v1")
    land(landed, first(landed), "SIM-9")
    assert version(landed, "d") == fixed.frozen_fingerprint
    assert version(landed) != fixed.frozen_fingerprint
    assert landed.make("perturbation_map", "d", "m.v1") == before


def test_quality_limits_are_part_of_the_version(landed):
    landed.set("datasets/strict.yaml", {**ANY, "quality": {"min_nuclei": 10}})
    assert version(landed, "strict") != version(landed)


def test_the_stored_fingerprint_of_a_selection_is_that_of_its_wells(landed, publish_newer):
    """A manifest that lacks the fingerprints of selections, as earlier ones do, gives the same version."""
    landed.set("datasets/genes.yaml", {**ANY, "perturbation_kinds": ["gene"]})
    before = version(landed, "genes")
    for experiment_id in ("SIM-1", "SIM-2", "SIM-3"):
        publish_newer(landed.deployment, "raw_plates", experiment_id, summary={"wells_fingerprints": {}})
    assert version(landed, "genes") == before


def test_missing_experiments_cell_types_and_names_are_named(landed):
    landed.set("datasets/gone.yaml", {"experiment_ids": ["SIM-1", "SIM-9"]})
    landed.set("datasets/huvec.yaml", {"cell_types": ["HUVEC"]})
    snapshot = open_snapshot(landed.deployment)
    with pytest.raises(DatasetError, match=r"experiments \['SIM-9'\] have not landed"):
        dataset_experiments(snapshot, "gone")
    with pytest.raises(DatasetError, match=r"no experiment of cell types \('HUVEC',\)"):
        dataset_experiments(snapshot, "huvec")
    with pytest.raises(DatasetError, match="'nonsense' is neither a cell type that landed nor a file"):
        dataset_experiments(snapshot, "nonsense")


def test_a_file_with_the_name_of_a_cell_type_and_a_wrong_file_are_problems_that_are_named(landed):
    landed.set("datasets/OTHER.yaml", ANY)
    landed.set("datasets/wrong.yaml", {"cell_type": "SIM"})
    landed.set("datasets/unknown_source.yaml", {**ANY, "annotation_sources": ["CORUM"]})
    snapshot = open_snapshot(landed.deployment)
    assert "the cell type OTHER is a dataset of this name already" in dataset_problem(snapshot, "OTHER")
    assert "cell_type: unknown key" in dataset_problem(snapshot, "wrong")
    assert "CORUM" in dataset_problem(snapshot, "unknown_source")
    assert dataset_problem(snapshot, "SIM") is None
