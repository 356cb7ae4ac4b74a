"""Sets up a classical encoder: its parameters are written down, and nothing is trained."""

import json
from pathlib import Path

from upath import UPath

from cellassets.storage.artifact import write_bytes
from cellassets.training.outcome import RECIPE_NAME, Outcome, write_recipe
from cellassets.training.recipe import ClassicalRecipe, recipe_fingerprint
from cellassets.training.spec import SPEC_NAME


def set_up_classical(recipe: ClassicalRecipe, folder: Path) -> Outcome:
    """Returns the model folder of a classical encoder, after writing it to `folder`."""
    described = {
        "kind": recipe.kind,
        "format_version": 2,
        "n_channels": recipe.parameters.n_channels,
        "parameters": recipe.parameters.model_dump(mode="json"),
        "recipe_name": recipe.name,
        "recipe_fingerprint": recipe_fingerprint(recipe),
    }
    write_bytes(UPath(folder / SPEC_NAME), json.dumps(described, indent=1).encode())
    write_recipe(recipe, folder)
    return Outcome(folder, (SPEC_NAME, RECIPE_NAME))
