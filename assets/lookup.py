"""From partition keys to what the library works with."""

from typing import TYPE_CHECKING

from cellassets.errors import DatasetError
from resources.partitions import DATASET_MODEL

if TYPE_CHECKING:
    from upath import UPath

    from cellassets.mapping.dataset import Dataset
    from cellassets.storage.lake import Lake


def dataset_and_model(key: str) -> tuple[str, str]:
    """Returns the data set and the model of a partition key."""
    by_axis = DATASET_MODEL.get_partition_key_from_str(key).keys_by_dimension
    return by_axis["dataset"], by_axis["model"]


def dataset_named(lake: "Lake", configs: "UPath", dataset_id: str) -> "Dataset":
    """Returns one data set.

    Raises:
        DatasetError: no cell type that landed and no YAML file has this name.
    """
    from cellassets.reconcile.models import dataset_state

    state = dataset_state(lake, configs)
    datasets = {dataset.dataset_id: dataset for dataset in state.datasets}
    if dataset_id not in datasets:
        reasons = [f"{item.what}: {item.reason}" for item in state.waiting]
        message = f"data set {dataset_id!r} is neither a cell type that landed nor in {configs / 'datasets'}; known: "
        raise DatasetError("; ".join([message + ", ".join(sorted(datasets)), *reasons]))
    return datasets[dataset_id]
