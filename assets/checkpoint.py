"""`checkpoint`: trains a recipe and registers the result as a model version."""

import dagster as dg

from assets.checks import check_of
from assets.inputs import training_data
from assets.materialise import materialised, publish
from cellassets.stages.checkpoint import CHECKPOINT, CODE_VERSION
from cellassets.training.summary import CheckpointSummary
from resources.partitions import RECIPE
from resources.places import DeploymentResource

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
    published = publish(context, CHECKPOINT, deployment)
    check = check_accuracy(CheckpointSummary.model_validate(published.record.summary))
    return materialised(published, checks=[check])


def check_accuracy(summary: CheckpointSummary) -> dg.AssetCheckResult:
    """Returns the check of a held-out accuracy; it passes where nothing was trained."""
    accuracy, chance = summary.validation_accuracy, summary.chance_accuracy
    if summary.n_train_sites is None:
        passed, description = True, "nothing was trained"
    elif accuracy is None or chance is None:
        passed, description = False, "trained, and no accuracy on held-out experiments was recorded"
    else:
        passed, description = accuracy > chance, f"accuracy {accuracy:.3f}; {chance:.3f} expected by chance"
    return dg.AssetCheckResult(
        check_name=CHECK, passed=passed, severity=dg.AssetCheckSeverity.WARN, description=description
    )
