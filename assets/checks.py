"""The check of an asset, partitioned as the asset is, so that a later good partition hides no bad one."""

import warnings

import dagster as dg


def check_of(
    asset: str | dg.AssetKey, name: str, *, description: str, partitions: dg.PartitionsDefinition | None = None
) -> list[dg.AssetCheckSpec]:
    """Returns the specification of the check that an asset reports itself.

    Dagster calls partitioned checks a preview; without them the newest evaluation stands for all partitions.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [dg.AssetCheckSpec(name, asset=asset, description=description, partitions_def=partitions)]
