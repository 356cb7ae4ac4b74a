"""From partition keys to what the library works with."""

from typing import TYPE_CHECKING

from cellassets.errors import DatasetError
from resources.partitions import DATASET_MODEL

if TYPE_CHECKING:
    from upath import UPath

    from cellassets.lake import Lake
    from cellassets.mapping.dataset import Dataset


def dataset_and_model(key: str) -> tuple[str, str]:
    """Returns the data set and the model of a partition key."""
    by_axis = DATASET_MODEL.get_partition_key_from_str(key).keys_by_dimension
    return by_axis["dataset"], by_axis["model"]


def dataset_named(lake: "Lake", configs: "UPath", dataset_id: str) -> "Dataset":
    """Returns one data set.

    Raises:
        DatasetError: no cell type that landed and no YAML file has this name.
    """
    from cellassets.reconcile.models import all_datasets

    datasets = {dataset.dataset_id: dataset for dataset in all_datasets(lake, configs)}
    if dataset_id not in datasets:
        message = f"data set {dataset_id!r} is neither a cell type that landed nor in {configs / 'datasets'}; known: "
        raise DatasetError(message + ", ".join(sorted(datasets)))
    return datasets[dataset_id]
