"""What a checkpoint is made from: the recipe, and the stores and quality tables of its experiments.

Cheap and without torch: sensors ask at every tick whether a recipe is trained as it is written now.
"""

from typing import Any

from cellassets.fingerprint import fingerprint
from cellassets.storage.artifact import Plan
from cellassets.storage.lake import Lake
from cellassets.training.recipe import NetworkRecipe, Recipe

CODE_VERSION = "1"


def recipe_experiments(recipe: Recipe) -> list[str]:
    """Returns the experiments that must be stored before the recipe can be carried out (none for a classical one)."""
    if not isinstance(recipe, NetworkRecipe):
        return []
    return [*recipe.train_experiments, *recipe.validation_experiments]


def plan_checkpoint(lake: Lake, recipe: Recipe) -> Plan:
    """Returns what the recipe's checkpoint would be made from now.

    Raises:
        ArtifactMissing: an experiment is not stored yet, or has no quality table although the recipe goes by it.
    """
    experiments = {name: _inputs(lake, recipe, name) for name in recipe_experiments(recipe)}
    return Plan(
        kind="checkpoint",
        inputs={"recipe": recipe.model_dump(mode="json"), "experiments": experiments, "code_version": CODE_VERSION},
    )


def recipe_fingerprint(recipe: Recipe) -> str:
    """Returns the fingerprint of the recipe alone, whatever the data."""
    return fingerprint({"recipe": recipe})


def data_fingerprint(plan: Plan) -> str:
    """Returns the fingerprint of the data that a checkpoint is made from, whatever the recipe."""
    return fingerprint({"experiments": plan.inputs["experiments"]})


def _inputs(lake: Lake, recipe: Recipe, experiment_id: str) -> dict[str, Any]:
    inputs = {"plate_store": lake.plate_store(experiment_id).record().fingerprint}
    if isinstance(recipe, NetworkRecipe) and not recipe.uses_flagged_sites:
        inputs["plate_quality"] = lake.plate_quality(experiment_id).record().fingerprint
    return inputs
