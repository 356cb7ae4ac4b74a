"""The partition axes. Only sensors add keys, and they check each key first, since Dagster accepts any string."""

from collections.abc import Mapping, Sequence

import dagster as dg

from cellassets.benchmarks.registry import BENCHMARKS

EXPERIMENT = dg.DynamicPartitionsDefinition(name="experiment")
RECIPE = dg.DynamicPartitionsDefinition(name="recipe")
SEARCH = dg.DynamicPartitionsDefinition(name="search")
MODEL = dg.DynamicPartitionsDefinition(name="model")
DATASET = dg.DynamicPartitionsDefinition(name="dataset")
BENCHMARK = dg.StaticPartitionsDefinition(sorted(BENCHMARKS))

EXPERIMENT_MODEL = dg.MultiPartitionsDefinition({"experiment": EXPERIMENT, "model": MODEL})
DATASET_MODEL = dg.MultiPartitionsDefinition({"dataset": DATASET, "model": MODEL})

AXES = {"experiment": EXPERIMENT, "recipe": RECIPE, "search": SEARCH, "model": MODEL, "dataset": DATASET}
_BY_AXES: dict[tuple[str, ...], dg.PartitionsDefinition | None] = {
    (): None,
    ("experiment",): EXPERIMENT,
    ("recipe",): RECIPE,
    ("search",): SEARCH,
    ("model",): MODEL,
    ("experiment", "model"): EXPERIMENT_MODEL,
    ("dataset", "model"): DATASET_MODEL,
}
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def partitions_of(axes: Sequence[str]) -> dg.PartitionsDefinition | None:
    """Returns the partitions of a stage with these axes; None if it has no axes."""
    return _BY_AXES[tuple(axes)]


def partition_key(keys: Mapping[str, str]) -> str | None:
    """Returns the partition key for the keys of one or two axes; None without keys."""
    if not keys:
        return None
    if len(keys) == 1:
        return next(iter(keys.values()))
    return str(dg.MultiPartitionKey(dict(keys)))


def keys_of(axes: Sequence[str], key: str | None) -> dict[str, str]:
    """Returns the keys by axis of a partition key; the inverse of `partition_key`."""
    definition = partitions_of(axes)
    if definition is None or key is None:
        return {}
    if isinstance(definition, dg.MultiPartitionsDefinition):
        return dict(definition.get_partition_key_from_str(key).keys_by_dimension)
    return {axes[0]: key}
