"""`checkpoint`: trains a recipe and registers the result as a model version."""

import dagster as dg

from assets.checks import check_of
from assets.inputs import training_data
from assets.materialise import materialised, publish
from cellassets.stages.checkpoint import CHECKPOINT, CODE_VERSION
from resources.partitions import RECIPE
from resources.places import DeploymentResource
from resources.pods import op_tags, step_pool

CHECK = "beats_chance_on_held_out_experiments"


@dg.asset(
    deps=[training_data],
    partitions_def=RECIPE,
    group_name="models",
    owners=["team:machine-learning"],
    kinds={"pytorch", "mlflow"},
    code_version=CODE_VERSION,
    pool=step_pool(CHECKPOINT.pod),
    op_tags=op_tags(CHECKPOINT.pod),
    check_specs=check_of(CHECKPOINT, CHECK, "Accuracy on experiments that were not trained on is above chance."),
)
def checkpoint(context: dg.AssetExecutionContext, deployment: DeploymentResource) -> dg.MaterializeResult:
    """Encoder trained by weak supervision, or a classical encoder, registered in MLflow."""
    published = publish(context, CHECKPOINT, deployment)
    summary = published.record.summary
    check = check_accuracy(summary.get("validation_accuracy"), summary.get("chance_accuracy"))
    return materialised(published, checks=[check])


def check_accuracy(accuracy: float | None, chance: float | None) -> dg.AssetCheckResult:
    """Returns the check of a held-out accuracy; it passes where nothing was trained."""
    if accuracy is None or chance is None:
        return dg.AssetCheckResult(check_name=CHECK, passed=True, description="nothing was trained")
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=accuracy > chance,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"accuracy {accuracy:.3f}; {chance:.3f} expected by chance",
    )
