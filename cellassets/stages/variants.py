"""What the stage `checkpoint` does more for a variant of a search: tags, the rule that stops it, and its outcomes."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cellassets.errors import CellAssetsError, TrainingError
from cellassets.registry.family_runs import COMPARED_TAG, FAMILY_TAG, OUTCOME_TAG, FamilyRun, FamilyRuns
from cellassets.stages.families import family, find_variant
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.stage import Context
from cellassets.storage.artifact import Record
from cellassets.storage.plan import Plan
from cellassets.training.summary import CheckpointSummary

if TYPE_CHECKING:
    from cellassets.registry import Registry
    from cellassets.training.attempts import Attempt
    from cellassets.training.outcome import Outcome
    from cellassets.training.poor_variant import PoorVariant
    from cellassets.training.pruning import Sibling

logger = logging.getLogger(__name__)


def version_tags(plan: Plan) -> dict[str, str]:
    """Returns the tags that a registered version has more if it is a variant."""
    return {FAMILY_TAG: plan.settings["family"].name} if "family" in plan.settings else {}


def run_tags(plan: Plan) -> dict[str, str]:
    """Returns the tags that the MLflow run of a variant has more.

    Runs are compared if their recipes differ only in what the search varies, and data and code are the same.
    """
    from cellassets.fingerprint import fingerprint

    if "family" not in plan.settings:
        return {}
    same = {
        "family": plan.settings["family"].fingerprint,
        "experiments": plan.inputs["experiments"],
        "code_version": plan.inputs["code_version"],
    }
    return {**version_tags(plan), COMPARED_TAG: fingerprint(same)}


def poor_variant(context: Context, plan: Plan, attempt: "Attempt") -> "PoorVariant | None":
    """Returns what stops a variant as poor; None for other recipes, and for searches without a rule."""
    from cellassets.training.poor_variant import PoorVariant

    found = plan.settings.get("family")
    if found is None or found.search.stop_poor is None:
        return None
    search = found.search
    runs = FamilyRuns(context.registry, run_tags(plan), search.metric, plan.settings["variant"].name)

    def siblings() -> "Sequence[Sibling]":
        return [_sibling(run) for run in runs.read()]

    return PoorVariant(search.stop_poor, search.metric, attempt, siblings)


def outcome_of(plan: Plan, train: "Callable[[], Outcome]", folder: Path) -> "Outcome":
    """Returns what training gives. A variant whose loss is not finite has diverged, which is a result of its search.

    Raises:
        TrainingError: the loss of any other recipe is not finite.
    """
    from cellassets.training.outcome import RECIPE_NAME, Outcome, write_recipe

    try:
        return train()
    except TrainingError as error:
        if "variant" not in plan.settings:
            raise
        logger.warning("%s diverged: %s", plan.settings["variant"].name, error)
        write_recipe(plan.settings["recipe"], folder / "model")
        return Outcome(folder / "model", (RECIPE_NAME,), diverged=str(error))


def tag_outcome(registry: "Registry", run_id: str, outcome: "Outcome") -> None:
    """Says in MLflow why there is no model."""
    if outcome.stopped is not None:
        decision = outcome.stopped.model_dump()
        why = {f"stopped_{key}": str(value) for key, value in decision.items()}
        registry.tag_run(run_id, {OUTCOME_TAG: "stopped", **why})
    elif outcome.diverged:
        registry.tag_run(run_id, {OUTCOME_TAG: "diverged", "diverged": outcome.diverged})


def is_to_be_trained_on(plan: Plan, done: Record) -> bool:
    """Returns whether a published variant was stopped by a rule that its search no longer has."""
    summary = CheckpointSummary.model_validate(done.summary)
    found = plan.settings.get("family")
    return summary.stopped is not None and (found is None or found.search.stop_poor is None)


def stopped_without_rule(snapshot: Snapshot, summary: CheckpointSummary) -> str:
    """Returns that a stopped variant is due again, because nothing stops it now; '' otherwise."""
    if summary.stopped is None or summary.variant is None:
        return ""
    try:
        variant = find_variant(snapshot, summary.variant)
        if variant is not None and family(snapshot, variant.family).search.stop_poor is not None:
            return ""
    except CellAssetsError:
        return ""
    return f"{summary.variant} was stopped as poor, and stop_poor was removed: it is trained to its end"


def _sibling(run: FamilyRun) -> "Sibling":
    from cellassets.training.pruning import Sibling

    if run.outcome == "stopped":
        return Sibling(run.name, "stopped", run.curve)
    if run.outcome == "diverged" or run.status == "FAILED":
        return Sibling(run.name, "failed", run.curve)
    return Sibling(run.name, "trained" if run.status == "FINISHED" else "running", run.curve)
