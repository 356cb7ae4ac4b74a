"""The check of an asset, partitioned as the asset is, so that a later good partition hides no bad one."""

import warnings

import dagster as dg

from cellassets.stages.stage import Stage
from resources.partitions import partitions_of


def check_of(stage: Stage, name: str, description: str) -> list[dg.AssetCheckSpec]:
    """Returns the specification of a check that the asset of a stage reports itself.

    Dagster calls partitioned checks a preview; without them the newest evaluation stands for all partitions.
    """
    asset = dg.AssetKey(stage.name.split("/"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [dg.AssetCheckSpec(name, asset=asset, description=description, partitions_def=partitions_of(stage.axes))]
