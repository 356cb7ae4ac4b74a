"""What the commit record of a checkpoint says beside its files. No torch here.

Written by the stage `checkpoint`, read by its checks, by reports and by people.
"""

from cellassets.configuration import Parameters, added_field
from cellassets.registry import ModelEntry
from cellassets.training.outcome import Outcome


class CheckpointSummary(Parameters):
    """Summary of one checkpoint. Fields about training are None for a classical encoder.

    Attributes:
        model_key: key of the registered model version.
        model_fingerprint: fingerprint of its files.
        run_id: MLflow run that made it.
        metrics: metrics of the last epoch.
        validation_accuracy: balanced accuracy on held-out experiments, 0 to 1.
        chance_accuracy: the balanced accuracy that guessing gives.
        restored_from: key of the deleted version whose files were registered again; None if none was deleted.
        n_classes: perturbations that the network distinguishes.
        n_train_sites: sites that it was trained on.
        n_validation_sites: held-out sites that it was judged on.
        n_classes_not_held_out: classes without any held-out site.
        n_held_out_classes_unknown: held-out perturbations that are not classes.
        n_weights: number of weights of the network.
        n_epochs: epochs that were trained, if the recipe has early stopping.
        n_train_sites_without_class: sites among them that belong to no class, if a training without labels has some.
    """

    model_key: str
    model_fingerprint: str
    run_id: str | None
    metrics: dict[str, float]
    validation_accuracy: float | None = None
    chance_accuracy: float | None = None
    restored_from: str | None = None
    n_classes: int | None = None
    n_train_sites: int | None = None
    n_validation_sites: int | None = None
    n_classes_not_held_out: int | None = None
    n_held_out_classes_unknown: int | None = None
    n_weights: int | None = None
    n_epochs: int | None = None
    n_train_sites_without_class: int | None = added_field(None, description="Training sites that belong to no class")


def checkpoint_summary(outcome: Outcome, entry: ModelEntry) -> CheckpointSummary:
    """Returns the summary of a recipe's outcome that was registered as `entry`."""
    return CheckpointSummary.model_validate(
        {
            "model_key": entry.key,
            "model_fingerprint": entry.fingerprint,
            "run_id": entry.run_id,
            "metrics": outcome.metrics,
            "validation_accuracy": outcome.metrics.get("validation_accuracy"),
            "chance_accuracy": outcome.metrics.get("chance_accuracy"),
            **outcome.counts,
        }
    )
