"""What an asset made from maps says of a partition without a map. Backfills over all partitions include such ones."""

from collections.abc import Sequence

import dagster as dg

from cellassets.stages.stage import Stage
from resources.partitions import keys_of
from resources.places import DeploymentResource


def checks_without_map(
    context: dg.AssetExecutionContext, stage: Stage, deployment: DeploymentResource, check_names: Sequence[str]
) -> list[dg.AssetCheckResult]:
    """Returns failed checks with the reason if the partition has no map; the partition then stays missing.

    Args:
        context: context of the run of one partition.
        stage: stage whose axes are dataset and model.
        deployment: where everything is.
        check_names: all checks of the asset.

    Returns:
        One result per check; empty if there is a map.
    """
    by_axis = keys_of(stage.axes, context.partition_key)
    dataset_id, model_key = by_axis["dataset"], by_axis["model"]
    if deployment.open().lake.artifact("perturbation_map", dataset_id, model_key).generation():
        return []
    return [
        dg.AssetCheckResult(
            asset_key=dg.AssetKey(stage.name.split("/")),
            check_name=name,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{model_key} has no map of {dataset_id}: nothing is made of it",
        )
        for name in check_names
    ]
