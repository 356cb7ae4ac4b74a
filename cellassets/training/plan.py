"""What a checkpoint is made from: the recipe, and the stores and quality tables of its experiments.

Cheap and without torch, because sensors call it at every tick.
"""

from typing import Any

from cellassets.fingerprint import fingerprint
from cellassets.storage.artifact import Plan
from cellassets.storage.lake import Lake
from cellassets.training.recipe import NetworkRecipe, Recipe, recipe_experiments, recipe_fingerprint

__all__ = ["CODE_VERSION", "data_fingerprint", "plan_checkpoint", "recipe_experiments", "recipe_fingerprint"]

CODE_VERSION = "1"  # raise it when the same recipe and data give other numbers


def plan_checkpoint(lake: Lake, recipe: Recipe) -> Plan:
    """Returns what the checkpoint of this recipe would be made from now.

    Raises:
        ArtifactMissing: an experiment is not stored yet, or its quality table is needed and does not exist.
    """
    experiments = {name: _inputs(lake, recipe, name) for name in recipe_experiments(recipe)}
    return Plan(
        kind="checkpoint",
        inputs={"recipe": recipe.model_dump(mode="json"), "experiments": experiments, "code_version": CODE_VERSION},
    )


def data_fingerprint(plan: Plan) -> str:
    """Returns the fingerprint of the data that a checkpoint is made from, without the recipe."""
    return fingerprint({"experiments": plan.inputs["experiments"]})


def _inputs(lake: Lake, recipe: Recipe, experiment_id: str) -> dict[str, Any]:
    inputs = {"plate_store": lake.plate_store(experiment_id).record().fingerprint}
    if isinstance(recipe, NetworkRecipe) and not recipe.uses_flagged_sites:
        inputs["plate_quality"] = lake.plate_quality(experiment_id).record().fingerprint
    return inputs
