"""Checks of assets. A check has the partitions of its asset, so a good partition does not hide an earlier bad one."""

import warnings

import dagster as dg

from cellassets.stages.stage import Stage
from resources.partitions import partitions_of


def check_of(stage: Stage, name: str, description: str) -> list[dg.AssetCheckSpec]:
    """Returns the specification of a check whose result the asset of a stage reports.

    Partitioned checks are a preview feature of Dagster. Without them the newest result counts for all partitions.
    """
    asset = dg.AssetKey(stage.name.split("/"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [dg.AssetCheckSpec(name, asset=asset, description=description, partitions_def=partitions_of(stage.axes))]
