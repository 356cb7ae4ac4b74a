"""Recipes that are not trained as they are written now, on the experiments as they are stored now."""

from dataclasses import dataclass

from upath import UPath

from cellassets.errors import ArtifactMissing, CellAssetsError
from cellassets.reconcile.experiments import is_stored
from cellassets.reconcile.work import Waiting, Work, is_missing, run_key
from cellassets.storage.lake import Lake
from cellassets.training.plan import plan_checkpoint, recipe_experiments
from cellassets.training.recipe import load_recipe


@dataclass(frozen=True)
class RecipeState:
    """What the recipe files ask for now."""

    names: list[str]
    work: list[Work]
    waiting: list[Waiting]


def recipe_state(lake: Lake, recipes: UPath) -> RecipeState:
    """Returns which recipes to train; one wrong file holds up itself alone."""
    state = RecipeState([], [], [])
    for path in sorted(recipes.glob("*.yaml"), key=lambda path: path.name):
        try:
            _add(state, lake, path)
        except CellAssetsError as error:
            state.waiting.append(Waiting(path.stem, str(error)))
    return state


def _add(state: RecipeState, lake: Lake, path: UPath) -> None:
    recipe = load_recipe(path)
    state.names.append(recipe.name)
    unstored = [name for name in recipe_experiments(recipe) if not is_stored(lake, name)]
    if unstored:
        message = f"waits for {', '.join(unstored)} to land and be stored"
        raise ArtifactMissing(message)
    plan = plan_checkpoint(lake, recipe)
    artifact = lake.checkpoint(recipe.name)
    if is_missing(artifact, plan):
        key = run_key((artifact, plan.fingerprint))
        state.work.append(Work({"recipe": recipe.name}, ("checkpoint",), key))
