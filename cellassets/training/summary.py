"""What the commit record of a checkpoint says beside its files. No torch here.

Written by the stage `checkpoint`, read by its checks, by reports and by people.
"""

from typing import Any

from cellassets.configuration import Parameters, added_field
from cellassets.registry import ModelEntry
from cellassets.training.outcome import Outcome
from cellassets.training.pruning import StopDecision
from cellassets.training.recipe import Variant


class CheckpointSummary(Parameters):
    """Summary of one checkpoint. Fields about training are None for a classical encoder.

    Attributes:
        model_key: key of the registered model version; None for a variant that was stopped or diverged.
        model_fingerprint: fingerprint of its files; None without a version.
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
        variant: name of the recipe, for a variant of a search.
        family: name of the search's recipe file.
        variant_values: what the variant changes, by key of the recipe.
        stopped: why the variant was stopped as poor.
        diverged: why the variant could not be trained to its end.
        not_compared_after: epochs after which MLflow did not say how the other variants stand.
    """

    model_key: str | None = None
    model_fingerprint: str | None = None
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
    variant: str | None = None
    family: str | None = None
    variant_values: dict[str, Any] | None = None
    stopped: StopDecision | None = None
    diverged: str | None = None
    not_compared_after: tuple[int, ...] | None = None


def checkpoint_summary(
    outcome: Outcome, entry: ModelEntry | None, *, run_id: str | None = None, variant: Variant | None = None
) -> CheckpointSummary:
    """Returns the summary of a recipe's outcome.

    Args:
        outcome: what training gave.
        entry: the version that it was registered as; None for a variant without a model.
        run_id: the MLflow run, where there is no version.
        variant: the variant of a search that the recipe is.
    """
    found: dict[str, Any] = {
        "run_id": run_id,
        "metrics": outcome.metrics,
        "validation_accuracy": outcome.metrics.get("validation_accuracy"),
        "chance_accuracy": outcome.metrics.get("chance_accuracy"),
        **outcome.counts,
    }
    if entry is not None:
        found |= {"model_key": entry.key, "model_fingerprint": entry.fingerprint, "run_id": entry.run_id}
    if variant is not None:
        found |= {
            "variant": variant.name,
            "family": variant.family,
            "variant_values": dict(variant.values),
            "stopped": outcome.stopped,
            "diverged": outcome.diverged or None,
            "not_compared_after": outcome.not_compared or None,
        }
    return CheckpointSummary.model_validate(found)
