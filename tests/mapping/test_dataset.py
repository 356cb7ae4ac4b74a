"""Datasets: which wells, and when they are the same wells."""

import re
from pathlib import Path

import polars as pl
import pytest
import yaml
from pydantic import ValidationError
from upath import UPath

from cellassets.errors import ConfigError, DatasetError
from cellassets.mapping.dataset import (
    Dataset,
    QualityLimits,
    cell_type_datasets,
    dataset_experiments,
    dataset_fingerprint,
    dataset_wells,
    frozen,
    load_dataset,
)

EVERY = Dataset(dataset_id="SIM", cell_types=("SIM",))


@pytest.fixture
def landed(simulate):
    """Three experiments of SIM; the third also has a few wells of OTHER."""
    simulated = simulate(n_batches=3, n_plates_per_batch=1)
    third = simulated.wells.filter(pl.col("experiment_id") == "SIM-3")
    mixed = third.with_columns(
        cell_type=pl.when(pl.int_range(pl.len()) < 5).then(pl.lit("OTHER")).otherwise(pl.lit("SIM"))
    )
    simulated.land("SIM-3", mixed)
    return simulated


def test_each_cell_type_that_has_landed_is_a_dataset(landed):
    assert [dataset.dataset_id for dataset in cell_type_datasets(landed.lake)] == ["OTHER", "SIM"]
    other, every = cell_type_datasets(landed.lake)
    assert dataset_experiments(landed.lake, other) == ["SIM-3"]
    assert dataset_experiments(landed.lake, every) == ["SIM-1", "SIM-2", "SIM-3"]
    assert dataset_wells(landed.lake, other).height == 5


def test_wells_of_other_kinds_are_left_out_and_controls_kept(landed):
    dataset = Dataset(dataset_id="d", perturbation_kinds=("compound",))
    wells = dataset_wells(landed.lake, dataset)
    assert wells["control_kind"].unique().to_list() == ["negative"]
    assert wells.height == 3 * 12


def test_the_fingerprint_is_of_the_wells_and_of_nothing_else(landed):
    before = dataset_fingerprint(landed.lake, EVERY)
    first = landed.wells.filter(pl.col("experiment_id") == "SIM-1")
    landed.land("SIM-1", first.reverse(), generation=1)
    assert dataset_fingerprint(landed.lake, EVERY) == before
    renamed = Dataset(dataset_id="another", cell_types=("SIM",))
    assert dataset_fingerprint(landed.lake, renamed) == before
    landed.land("SIM-1", first[1:], generation=2)
    assert dataset_fingerprint(landed.lake, EVERY) != before


@pytest.mark.parametrize("column", ["perturbation_id", "gene_symbol", "cell_type"])
def test_a_well_with_another_content_is_another_well(landed, column):
    dataset = Dataset(dataset_id="d", experiment_ids=("SIM-1",))
    before = dataset_fingerprint(landed.lake, dataset)
    wells = landed.wells.filter(pl.col("experiment_id") == "SIM-1")
    changed = pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("x")).otherwise(pl.col(column)).alias(column)
    landed.land("SIM-1", wells.with_columns(changed), generation=1)
    assert dataset_fingerprint(landed.lake, dataset) != before


def test_an_experiment_that_lands_changes_the_datasets_it_belongs_to(landed):
    some = Dataset(dataset_id="some", experiment_ids=("SIM-1", "SIM-2"))
    before = dataset_fingerprint(landed.lake, EVERY), dataset_fingerprint(landed.lake, some)
    fourth = landed.wells.filter(pl.col("experiment_id") == "SIM-2").with_columns(experiment_id=pl.lit("SIM-4"))
    landed.land("SIM-4", fourth)
    assert dataset_fingerprint(landed.lake, EVERY) != before[0]
    assert dataset_fingerprint(landed.lake, some) == before[1]


def test_a_frozen_dataset_refuses_other_wells(landed):
    fixed = frozen(landed.lake, Dataset(dataset_id="d", experiment_ids=("SIM-1",)))
    assert dataset_fingerprint(landed.lake, fixed) == fixed.frozen_fingerprint
    landed.land("SIM-1", landed.wells.filter(pl.col("experiment_id") == "SIM-1")[1:], generation=1)
    with pytest.raises(DatasetError, match="dataset d is frozen with wells"):
        dataset_fingerprint(landed.lake, fixed)


def test_a_frozen_dataset_stays_as_it_is_when_more_lands(landed):
    fixed = frozen(landed.lake, Dataset(dataset_id="d", cell_types=("SIM",)))
    before = dataset_wells(landed.lake, fixed)
    more = landed.wells.filter(pl.col("experiment_id") == "SIM-1").with_columns(pl.lit("SIM-9").alias("experiment_id"))
    landed.land("SIM-9", more)
    assert dataset_wells(landed.lake, fixed).equals(before)
    assert dataset_fingerprint(landed.lake, fixed) == fixed.frozen_fingerprint
    assert dataset_fingerprint(landed.lake, Dataset(dataset_id="d", cell_types=("SIM",))) != fixed.frozen_fingerprint


def test_quality_limits_are_part_of_the_version(landed):
    strict = EVERY.model_copy(update={"quality": QualityLimits(min_nuclei=10)})
    assert dataset_fingerprint(landed.lake, strict) != dataset_fingerprint(landed.lake, EVERY)


def test_missing_experiments_and_cell_types_are_named(landed):
    with pytest.raises(DatasetError, match=r"experiments \['SIM-9'\] have not landed"):
        dataset_experiments(landed.lake, Dataset(dataset_id="d", experiment_ids=("SIM-1", "SIM-9")))
    with pytest.raises(DatasetError, match=r"no experiment of cell types \('HUVEC',\)"):
        dataset_experiments(landed.lake, Dataset(dataset_id="d", cell_types=("HUVEC",)))


def test_curated_datasets_are_named_by_their_file(tmp_path):
    folder = UPath(tmp_path)
    (folder / "b.yaml").write_text("cell_types: [HUVEC]\nbatch_by: plate\n")
    dataset = load_dataset(folder / "b.yaml")
    assert (dataset.dataset_id, dataset.batch_by) == ("b", "plate")
    (folder / "c.yaml").write_text("cell_type: HUVEC\n")
    with pytest.raises(ConfigError, match=r"c\.yaml: .*cell_type: Extra inputs"):
        load_dataset(folder / "c.yaml")
    (folder / "d.yaml").write_text("dataset_id: b\n")
    with pytest.raises(ConfigError, match=r"d\.yaml: dataset_id: found 'b'"):
        load_dataset(folder / "d.yaml")


@pytest.mark.parametrize(
    "values",
    [
        {"frozen_fingerprint": "x"},
        {"quality": {"min_sites_per_well": 0}},
        {"dataset_id": "a,b"},
        {"dataset_id": "../x"},
    ],
)
def test_datasets_that_contradict_themselves_are_refused(values):
    with pytest.raises((ValidationError, ValueError)):
        Dataset(**{"dataset_id": "d", **values})


def test_the_documented_dataset_is_valid():
    page = (Path(__file__).parents[2] / "docs/add-a-dataset.md").read_text()
    (documented,) = re.findall(r"```yaml\n# configs/datasets/huvec_genes.yaml.*?\n(.*?)```", page, re.DOTALL)
    values = yaml.safe_load(documented)
    dataset = Dataset.model_validate({"dataset_id": "huvec_genes", **values})
    assert dataset.quality.min_nuclei == 5
    assert set(values) == set(Dataset.model_fields) - {"dataset_id", "frozen_fingerprint"}, "every key is shown"
