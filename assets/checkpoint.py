"""`checkpoint`: trains a recipe and registers the result as a model version."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import dagster as dg

from assets.checks import check_of
from assets.inputs import training_data
from assets.materialise import materialised, publish
from assets.pictures import chart
from cellassets.stages.checkpoint import CHECKPOINT, CODE_VERSION, curves
from cellassets.stages.stage import Stage
from cellassets.training.summary import CheckpointSummary
from resources.partitions import RECIPE
from resources.places import DeploymentResource
from resources.training_nodes import JobNodes

CHECK = "beats_chance_on_held_out_experiments"


@dg.asset(
    deps=[training_data],
    partitions_def=RECIPE,
    group_name="models",
    owners=["team:machine-learning"],
    kinds={"pytorch", "mlflow"},
    code_version=CODE_VERSION,
    check_specs=check_of(CHECKPOINT, CHECK, "Accuracy on experiments that were not trained on is above chance."),
)
def checkpoint(context: dg.AssetExecutionContext, deployment: DeploymentResource) -> dg.MaterializeResult:
    """Encoder trained by weak supervision, or a classical encoder, registered in MLflow."""
    published = publish(context, with_nodes(CHECKPOINT, JobNodes.of(os.environ)), deployment)
    summary = CheckpointSummary.model_validate(published.record.summary)
    metadata = {**describe_training(curves(published)), **link_to_run(deployment, summary.run_id)}
    return materialised(published, metadata=metadata, checks=[check_accuracy(summary)])


def link_to_run(deployment: DeploymentResource, run_id: str | None) -> dict[str, dg.MetadataValue[Any]]:
    """Returns the link to a run in MLflow; nothing where MLflow's address is not set or no run is known."""
    link = deployment.open().mlflow_link(run_id) if run_id else None
    return {"mlflow": dg.MetadataValue.url(link)} if link else {}


def with_nodes(stage: Stage, nodes: JobNodes | None) -> Stage:
    """Returns a stage that can train on further nodes, where there is something that starts them."""
    return replace(stage, make=lambda context, plan: stage.make(replace(context, nodes=nodes), plan))


def describe_training(history: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Returns the curves of a training as a picture, and its speed; nothing where nothing was trained.

    The sites per second and the share of the time without data are medians over the epochs.
    """
    if not history:
        return {}
    from cellassets.reporting.chart import data_uri
    from cellassets.reporting.training_chart import training_chart

    picture = training_chart(history)
    speed = {name: median(epoch[name] for epoch in history) for name in ("sites_per_second", "data_wait_frac")}
    peak = max(epoch["peak_memory_gib"] for epoch in history)
    return {"training_curves": chart(picture.title, data_uri(picture)), **speed, "peak_memory_gib": peak}


def check_accuracy(summary: CheckpointSummary) -> dg.AssetCheckResult:
    """Returns the check of a held-out accuracy; it passes where nothing was trained."""
    accuracy, chance = summary.validation_accuracy, summary.chance_accuracy
    if summary.diverged is not None:
        passed, description = False, f"there is no model: {summary.diverged}"
    elif summary.stopped is not None:
        passed, description = True, f"there is no model: {summary.stopped.in_words()}"
    elif summary.n_train_sites is None:
        passed, description = True, "nothing was trained"
    elif accuracy is None or chance is None:
        passed, description = False, "trained, and no accuracy on held-out experiments was recorded"
    else:
        passed, description = accuracy > chance, f"accuracy {accuracy:.3f}; {chance:.3f} expected by chance"
    return dg.AssetCheckResult(
        check_name=CHECK, passed=passed, severity=dg.AssetCheckSeverity.WARN, description=description
    )
