"""`cellassets recipe`: the files that models are trained from."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cellassets.cli.options import JsonOption
from cellassets.cli.output import show_json

if TYPE_CHECKING:
    from cellassets.training.recipe import Recipe

app = typer.Typer(no_args_is_help=True, help="Recipes, from which models are trained.")


@app.command("check")
def check_recipe(path: Path, as_json: JsonOption = False) -> None:
    """Reads a recipe file and shows it with its defaults; an unknown key is refused."""
    import yaml
    from upath import UPath

    from cellassets.training.recipe import load_recipe

    recipe = load_recipe(UPath(path))
    _check_zoo(recipe, path)
    values = recipe.model_dump(mode="json")
    if as_json:
        show_json([values])
    else:
        typer.echo(yaml.safe_dump(values, sort_keys=False), nl=False)


def _check_zoo(recipe: "Recipe", path: Path) -> None:
    """Checks the configuration of a model of transformers, which takes seconds to import."""
    from cellassets.errors import ConfigError, RecipeError
    from cellassets.training.recipe import NetworkRecipe, ZooBackbone

    if not isinstance(recipe, NetworkRecipe) or not isinstance(recipe.backbone, ZooBackbone):
        return
    from cellassets.training.zoo import zoo_config

    try:
        zoo_config(recipe.backbone, n_channels=3, trained_px=recipe.augmentation.crop_px or 224)
    except RecipeError as error:
        message = f"{path}: {error}"
        raise ConfigError(message) from error
