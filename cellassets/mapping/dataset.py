"""Datasets: which wells models are judged on.

Each cell type is a dataset as soon as an experiment with it has landed; curated datasets are YAML files in
`configs/datasets/`. Which experiments and wells are in a dataset now is answered by `cellassets.stages.datasets`.
"""

from typing import Literal

from pydantic import Field, model_validator
from upath import UPath

from cellassets.configuration import Parameters, load_yaml
from cellassets.errors import ConfigError
from cellassets.fingerprint import check_partition_key


class QualityLimits(Parameters):
    """Which sites count, beside those that `plate_quality` flagged (None: no limit), and wells with how many of them.

    Columns of QUALITY: `focus` (log-log slope of the nuclear channel's power spectrum), `saturation_frac` (worst
    channel), `n_nuclei`.
    """

    min_focus: float | None = Field(default=None, description="Smallest focus of a site; null: no limit")
    max_saturation_frac: float | None = Field(
        default=None, ge=0, le=1, description="Largest share of saturated pixels of a site; null: no limit"
    )
    min_nuclei: int | None = Field(
        default=None, ge=0, description="Smallest number of nuclei of a site; null: no limit"
    )
    min_sites_per_well: int = Field(default=1, ge=1, description="Sites that a well needs")


class Dataset(Parameters):
    """A named set of wells.

    `cell_types`, `experiment_ids` and `perturbation_kinds` narrow it down (None: all). Controls always belong to it.
    `quality` says which of their sites count, `batch_by` what is aligned against itself, `annotation_sources` what its
    maps are judged against (None: every source). A dataset with a `frozen_fingerprint` is frozen: it lists its
    experiments, and refuses wells that are not the ones it was frozen with.
    """

    dataset_id: str
    cell_types: tuple[str, ...] | None = Field(default=None, description="Cell types of the wells; null: all")
    experiment_ids: tuple[str, ...] | None = Field(
        default=None, description="Experiments of the wells; null: all, future ones included"
    )
    perturbation_kinds: tuple[Literal["gene", "compound"], ...] | None = Field(
        default=None, description="Kinds of perturbations; null: all. Controls are always included"
    )
    batch_by: Literal["experiment", "plate"] = Field(
        default="experiment", description="The wells that are aligned with their own controls"
    )
    quality: QualityLimits = Field(default=QualityLimits(), description="Which sites and wells are good enough")
    annotation_sources: tuple[str, ...] | None = Field(
        default=None, description="Annotation files that maps are compared with; null: all in the lake"
    )
    frozen_fingerprint: str | None = Field(
        default=None,
        description="Fingerprint of the wells, written by `cellassets dataset freeze`; other wells are refused",
    )

    @model_validator(mode="after")
    def _check(self) -> "Dataset":
        check_partition_key(self.dataset_id, "dataset_id")
        if self.frozen_fingerprint is not None and not self.experiment_ids:
            message = "a frozen dataset must list its experiment_ids, or the next experiment would change it"
            raise ValueError(message)
        return self


def load_dataset(path: UPath) -> Dataset:
    """Returns the curated dataset in a YAML file; its id is the file's stem.

    Raises:
        ConfigError: the file is not a valid dataset, or gives itself another id.
    """
    dataset = load_yaml(path, Dataset, dataset_id=path.stem)
    if dataset.dataset_id != path.stem:
        message = (
            f"{path}: dataset_id: found {dataset.dataset_id!r}, expected the name of the file, {path.stem!r}; leave "
            "the key out"
        )
        raise ConfigError(message)
    return dataset
