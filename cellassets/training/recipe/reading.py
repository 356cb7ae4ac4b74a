"""Recipe files, read and validated; and the fingerprint of a recipe.

Input: `configs/recipes/<name>.yaml`. Output: the stage `checkpoint` (fingerprint), `train.py` and `classical.py`.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict
from upath import UPath

from cellassets.configuration import Parameters, YamlValues, read_yaml, validate
from cellassets.errors import RecipeError
from cellassets.fingerprint import check_partition_key, fingerprint
from cellassets.training.recipe.classical import ClassicalRecipe
from cellassets.training.recipe.devices import Devices
from cellassets.training.recipe.network import NetworkRecipe

Recipe = NetworkRecipe | ClassicalRecipe
SEARCH_KEY = "search"


class RecipeKind(Parameters):
    """What a recipe file is read as before its kind is known, with what the pod of its training depends on."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["network", "classical"]
    devices: Devices = Devices()


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
        RecipeError: the file contains another name, or describes a search.
        PartitionKeyError: the file's name cannot be a partition key.
    """
    values = read_recipe(path)
    if SEARCH_KEY in values:
        message = f"{path}: this is a search, not one recipe: `cellassets recipe check {path}` lists its variants"
        raise RecipeError(message)
    return recipe_of(values, source=str(path))


def read_recipe(path: UPath) -> YamlValues:
    """Returns the values in a recipe file with the name of the recipe, before its keys are checked.

    Raises:
        ConfigError: the file is missing, is not a YAML mapping, or has no known kind.
        RecipeError: the file contains another name.
        PartitionKeyError: the file's name cannot be a partition key.
    """
    values = read_yaml(path, RecipeKind)
    validate(values, RecipeKind, source=str(path))
    name = check_partition_key(path.stem, "recipe")
    if values.setdefault("name", name) != name:
        message = (
            f"{path}: name: found {values['name']!r}; the name of a recipe is the name of its file, {name!r}: remove "
            "the key"
        )
        raise RecipeError(message)
    return values


def recipe_of(values: Mapping[str, Any], *, source: str) -> Recipe:
    """Returns a recipe from its values.

    Args:
        values: kind, name and all other keys.
        source: the file, for messages.

    Raises:
        ConfigError: a key is wrong; names it, with its line if `values` knows it.
    """
    if values["kind"] == "network":
        return validate(values, NetworkRecipe, source=source)
    return validate(values, ClassicalRecipe, source=source)
