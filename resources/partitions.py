"""The partition axes. Keys are added by the sensors alone, each checked first: Dagster itself accepts any string."""

import dagster as dg

EXPERIMENT = dg.DynamicPartitionsDefinition(name="experiment")
RECIPE = dg.DynamicPartitionsDefinition(name="recipe")
MODEL = dg.DynamicPartitionsDefinition(name="model")
DATASET = dg.DynamicPartitionsDefinition(name="dataset")

EXPERIMENT_MODEL = dg.MultiPartitionsDefinition({"experiment": EXPERIMENT, "model": MODEL})
DATASET_MODEL = dg.MultiPartitionsDefinition({"dataset": DATASET, "model": MODEL})

AXES = {"experiment": EXPERIMENT, "recipe": RECIPE, "model": MODEL, "dataset": DATASET}


def partition_key(keys: dict[str, str]) -> str | None:
    """Returns the partition key of one or two axes' keys, None for none."""
    if not keys:
        return None
    if len(keys) == 1:
        return next(iter(keys.values()))
    return str(dg.MultiPartitionKey(keys))
