"""Datasets: which wells models are judged on, and the fingerprint of those wells.

Each cell type is a dataset by itself as soon as an experiment with it has landed; curated ones are YAML files in
`configs/datasets/`. Wells come from the `raw_plates` manifests; nothing here reads an image or an embedding.
"""

from functools import lru_cache
from typing import Literal

import polars as pl
from pydantic import Field, model_validator
from upath import UPath

from cellassets.configuration import Parameters, load_yaml
from cellassets.errors import ConfigError, DatasetError
from cellassets.fingerprint import check_partition_key, fingerprint
from cellassets.mapping.well_selection import FINGERPRINT_COLUMNS, selected_wells
from cellassets.storage.artifact import Artifact
from cellassets.storage.lake import Lake
from cellassets.tables.content import frame_fingerprint
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import WELLS


class QualityLimits(Parameters):
    """Which sites count, beside those that `plate_quality` flagged (None: no limit), and wells with how many of them.

    Columns of QUALITY: `focus` (log-log slope of the nuclear channel's power spectrum), `saturation_frac` (worst
    channel), `n_nuclei`.
    """

    min_focus: float | None = None
    max_saturation_frac: float | None = Field(default=None, ge=0, le=1)
    min_nuclei: int | None = Field(default=None, ge=0)
    min_sites_per_well: int = Field(default=1, ge=1)


class Dataset(Parameters):
    """A named set of wells.

    `cell_types`, `experiment_ids` and `perturbation_kinds` narrow it down (None: all). Controls always belong to it.
    `quality` says which of their sites count, `batch_by` what is aligned against itself, `annotation_sources` what its
    maps are judged against (None: every source). A dataset with a `frozen_fingerprint` is frozen: it lists its
    experiments, and refuses wells that are not the ones it was frozen with.
    """

    dataset_id: str
    cell_types: tuple[str, ...] | None = None
    experiment_ids: tuple[str, ...] | None = None
    perturbation_kinds: tuple[Literal["gene", "compound"], ...] | None = None
    batch_by: Literal["experiment", "plate"] = "experiment"
    quality: QualityLimits = QualityLimits()
    annotation_sources: tuple[str, ...] | None = None
    frozen_fingerprint: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "Dataset":
        check_partition_key(self.dataset_id, "dataset_id")
        if self.frozen_fingerprint is not None and not self.experiment_ids:
            message = "a frozen dataset must list its experiment_ids, or the next experiment would change it"
            raise ValueError(message)
        return self


def cell_type_datasets(lake: Lake) -> list[Dataset]:
    """Returns one dataset a cell type that has landed, named like it, in order of the names."""
    cell_types = {name for experiment_id in _landed(lake) for name in _cell_types(lake, experiment_id)}
    return [Dataset(dataset_id=name, cell_types=(name,)) for name in sorted(cell_types)]


def load_dataset(path: UPath) -> Dataset:
    """Returns the curated dataset in a YAML file; its id is the file's stem.

    Raises:
        ConfigError: the file is not a valid dataset, or gives itself another id.
    """
    dataset = load_yaml(path, Dataset, dataset_id=path.stem)
    if dataset.dataset_id != path.stem:
        message = f"{path}: dataset_id: found {dataset.dataset_id!r}; it is called as its file: leave the key out"
        raise ConfigError(message)
    return dataset


def dataset_experiments(lake: Lake, dataset: Dataset) -> list[str]:
    """Returns the experiments that the dataset's wells come from, sorted.

    Raises:
        DatasetError: the dataset names an experiment that has not landed, or no landed experiment fits it.
    """
    landed = _landed(lake)
    missing = sorted(set(dataset.experiment_ids or ()) - set(landed))
    if missing:
        message = f"dataset {dataset.dataset_id}: experiments {missing} have not landed; landed are {landed[:20]}"
        raise DatasetError(message)
    candidates = landed if dataset.experiment_ids is None else sorted(set(dataset.experiment_ids))
    wanted = None if dataset.cell_types is None else set(dataset.cell_types)
    found = [e for e in candidates if wanted is None or wanted & set(_cell_types(lake, e))]
    if not found:
        message = (
            f"dataset {dataset.dataset_id}: no experiment of cell types {dataset.cell_types} among {candidates[:20]}; "
            "land one, or correct cell_types"
        )
        raise DatasetError(message)
    return found


def dataset_wells(lake: Lake, dataset: Dataset) -> pl.DataFrame:
    """Returns the dataset's wells as a WELLS table, sorted by experiment, plate and well.

    Raises:
        DatasetError: as `dataset_experiments`, or nothing is left of the wells.
    """
    wells = pl.concat([_experiment_wells(lake.raw_plates(e), dataset) for e in dataset_experiments(lake, dataset)])
    if wells.is_empty():
        message = f"dataset {dataset.dataset_id}: no well fits cell_types and perturbation_kinds; correct its YAML"
        raise DatasetError(message)
    return wells.sort("experiment_id", "plate_id", "well_id")


def dataset_fingerprint(lake: Lake, dataset: Dataset) -> str:
    """Returns the fingerprint of the wells in the dataset, whatever their order, and of its quality limits.

    Raises:
        DatasetError: as `dataset_experiments`, or a frozen dataset holds other wells than it was frozen with.
    """
    filters = Dataset(dataset_id="any", cell_types=dataset.cell_types, perturbation_kinds=dataset.perturbation_kinds)
    parts = {}
    for experiment_id in dataset_experiments(lake, dataset):
        artifact = lake.raw_plates(experiment_id)
        parts[experiment_id] = _wells_fingerprint(artifact, artifact.record().fingerprint, filters)
    limits = dataset.quality.model_dump(mode="json", exclude_defaults=True)
    found = fingerprint({"wells": parts, "quality": limits} if limits else {"wells": parts})
    if dataset.frozen_fingerprint not in (None, found):
        message = (
            f"dataset {dataset.dataset_id} is frozen with wells {dataset.frozen_fingerprint} and now holds {found}: "
            "restore the experiments it was frozen with, or give the new wells a new dataset_id"
        )
        raise DatasetError(message)
    return found


def frozen(lake: Lake, dataset: Dataset) -> Dataset:
    """Returns the dataset as it is now, with its experiments listed and its wells' fingerprint to hold them to."""
    experiments = tuple(dataset_experiments(lake, dataset))
    return dataset.model_copy(
        update={"experiment_ids": experiments, "frozen_fingerprint": dataset_fingerprint(lake, dataset)}
    )


@lru_cache(maxsize=8192)
def _wells_fingerprint(artifact: Artifact, _record_fingerprint: str, filters: Dataset) -> str:
    """Fingerprint of one experiment's wells; read once a process and manifest, since sensors ask at every tick."""
    return frame_fingerprint(_experiment_wells(artifact, filters).select(FINGERPRINT_COLUMNS))


def _experiment_wells(artifact: Artifact, dataset: Dataset) -> pl.DataFrame:
    wells = read_table(artifact.path("wells.parquet"), WELLS)
    return selected_wells(wells, dataset.cell_types, dataset.perturbation_kinds)


def _landed(lake: Lake) -> list[str]:
    return [key for key in lake.keys("raw_plates") if lake.raw_plates(key).find_record() is not None]


def _cell_types(lake: Lake, experiment_id: str) -> list[str]:
    return list(lake.raw_plates(experiment_id).record().summary["cell_types"])
