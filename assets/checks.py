"""Checks of assets. They have no partitions; the metadata of a result names the partition that was checked.

Dagster has partitioned checks as a preview. At every look at an asset its webserver derives their state from the
results of all partitions, with several SQL statements and a copy of a set for each: with 80,000 partitions pages did
not open within a minute, and the webserver went on computing for nobody (`bench/scale.py`).
"""

import dagster as dg

from cellassets.stages.stage import Stage

PARTITION = "partition"  # metadata of a result


def check_of(stage: Stage, name: str, description: str) -> list[dg.AssetCheckSpec]:
    """Returns the specification of a check whose result the asset of a stage reports."""
    return [dg.AssetCheckSpec(name, asset=dg.AssetKey(stage.name.split("/")), description=description)]


def at_partition(result: dg.AssetCheckResult, key: str | None) -> dg.AssetCheckResult:
    """Returns the result of a check with the partition in its metadata; unchanged for an asset without partitions."""
    return result if not key else result.with_metadata({**result.metadata, PARTITION: key})
