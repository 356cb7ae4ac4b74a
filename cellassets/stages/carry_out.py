"""Makes one partition of a stage. Dagster runs, tests and notebooks call this function."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cellassets.progress import Progress, no_progress
from cellassets.stages.catalogue import open_snapshot
from cellassets.stages.stage import Context, Keys, Stage
from cellassets.storage.deployment import Deployment
from cellassets.storage.lake import Published

if TYPE_CHECKING:
    from cellassets.encoders.container.encoder import ContainerRunner


def carry_out(
    stage: Stage,
    deployment: Deployment,
    keys: Keys,
    *,
    progress: Progress = no_progress,
    options: Mapping[str, Any] | None = None,
    containers: "ContainerRunner | None" = None,
) -> Published:
    """Returns what is published at some keys, after making it if it differs from what the plan asks for.

    Args:
        stage: what to make.
        deployment: where everything is.
        keys: the partition, by axis.
        progress: receives the progress of the work.
        options: further arguments of the stage's plan, for stages that have options.
        containers: starts the processes of container encoders.

    Raises:
        CellAssetsError: an input is missing or refused.
        StaleArtifact: another run published something else meanwhile.
    """
    snapshot = open_snapshot(deployment)
    plan = stage.plan(snapshot, keys, **(options or {}))
    lake = deployment.lake
    context = Context(deployment, progress, containers)
    record = lake.find_done(plan)
    if record is None or (
        stage.lost is not None and stage.lost(snapshot, stage.summary.model_validate(record.summary))
    ):
        record = stage.make(context, plan)
    if stage.settle is not None:
        stage.settle(context, record)
    return Published(lake.artifact(plan.kind, *plan.keys), record)
