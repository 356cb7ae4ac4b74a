"""Recipe files, read and validated; and the fingerprint of a recipe.

Input: `configs/recipes/<name>.yaml`. Output: the stage `checkpoint` (fingerprint), `train.py` and `classical.py`.
"""

from typing import Literal

from pydantic import ConfigDict
from upath import UPath

from cellassets.configuration import Parameters, read_yaml, validate
from cellassets.errors import RecipeError
from cellassets.fingerprint import check_partition_key, fingerprint
from cellassets.training.recipe.classical import ClassicalRecipe
from cellassets.training.recipe.network import NetworkRecipe

Recipe = NetworkRecipe | ClassicalRecipe


class RecipeKind(Parameters):
    """What a recipe file is read as before its kind is known."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["network", "classical"]


def recipe_experiments(recipe: Recipe) -> list[str]:
    """Returns the experiments that a recipe reads, each once: to train on, to validate on, other ones with controls.

    A classical recipe reads none.
    """
    if not isinstance(recipe, NetworkRecipe):
        return []
    names = (*recipe.train_experiments, *recipe.validation_experiments, *recipe.control_experiments)
    return list(dict.fromkeys(names))


def trained_experiments(recipe: NetworkRecipe) -> tuple[str, ...]:
    """Returns the experiments of which a recipe trains on any well, controls included."""
    return (*recipe.train_experiments, *recipe.control_experiments)


def recipe_fingerprint(recipe: Recipe) -> str:
    """Returns the fingerprint of the recipe alone, without any data."""
    return fingerprint({"recipe": recipe})


def load_recipe(path: UPath) -> Recipe:
    """Returns the recipe in a YAML file. The name of the recipe is the name of the file.

    Raises:
        ConfigError: the file is missing, is not a YAML mapping, or has a wrong key; names the file and the key.
        RecipeError: the file contains another name.
        PartitionKeyError: the file's name cannot be a partition key.
    """
    values = read_yaml(path, RecipeKind)
    kind = validate(values, RecipeKind, source=str(path)).kind
    name = check_partition_key(path.stem, "recipe")
    if values.setdefault("name", name) != name:
        message = (
            f"{path}: name: found {values['name']!r}; the name of a recipe is the name of its file, {name!r}: remove "
            "the key"
        )
        raise RecipeError(message)
    if kind == "network":
        return validate(values, NetworkRecipe, source=str(path))
    return validate(values, ClassicalRecipe, source=str(path))
