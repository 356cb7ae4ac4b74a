"""`cellassets recipe`: the files that models are trained from."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cellassets.cli.options import JsonOption
from cellassets.cli.output import show_json, show_rows

if TYPE_CHECKING:
    from upath import UPath

    from cellassets.training.recipe import Family, Recipe, Variant

app = typer.Typer(no_args_is_help=True, help="Recipes, from which models are trained.")


@app.command("check")
def check_recipe(path: Path, as_json: JsonOption = False) -> None:
    """Reads a recipe file and shows it with its defaults, or the variants of its search; a wrong key is refused."""
    import yaml
    from upath import UPath

    from cellassets.training.recipe import load_recipe
    from cellassets.training.recipe.family import has_search

    if has_search(UPath(path)):
        _check_search(UPath(path), as_json=as_json)
        return
    recipe = load_recipe(UPath(path))
    _check_zoo(recipe, str(path))
    values = recipe.model_dump(mode="json")
    if as_json:
        show_json([values])
    else:
        typer.echo(yaml.safe_dump(values, sort_keys=False), nl=False)


def _check_search(path: "UPath", *, as_json: bool) -> None:
    """Shows the variants of a search; of a Bayesian one, which proposes them later, what it varies."""
    from cellassets.training.recipe import BayesianSearch, checked_family
    from cellassets.training.recipe.variant_names import shown_value

    family, variants = checked_family(path)
    for variant in variants:
        _check_zoo(variant.recipe, f"{path}: variant {variant.name}")
    if as_json:
        show_json([_described(variant) for variant in variants] or [family.search.model_dump(mode="json")])
        return
    typer.echo(_in_words(family, variants))
    if isinstance(family.search, BayesianSearch):
        parameters = family.search.model_dump(mode="json")["parameters"]
        rows = [{"parameter": key, "values": shown_value(given)} for key, given in parameters.items()]
    else:
        keys = dict.fromkeys(key for variant in variants for key in variant.values)
        rows = [
            {
                "variant": variant.name,
                **{key: shown_value(variant.values[key]) if key in variant.values else "" for key in keys},
            }
            for variant in variants
        ]
    show_rows(rows, as_json=False, empty="no variants")


def _described(variant: "Variant") -> dict[str, Any]:
    recipe = variant.recipe.model_dump(mode="json")
    return {"name": variant.name, "family": variant.family, "values": dict(variant.values), "recipe": recipe}


def _in_words(family: "Family", variants: "tuple[Variant, ...]") -> str:
    search = family.search
    n_variants = len(variants) or getattr(search, "n_variants", 0)
    rule = "none is stopped early" if search.stop_poor is None else f"poor ones are stopped by {search.stop_poor.rule}"
    return f"{family.name}: {search.method}, {n_variants} variants, {search.n_at_once} at once; {rule}"


def _check_zoo(recipe: "Recipe", source: str) -> None:
    """Checks the configuration of a model of transformers, which takes seconds to import."""
    from cellassets.errors import ConfigError, RecipeError
    from cellassets.training.recipe import NetworkRecipe, ZooBackbone

    if not isinstance(recipe, NetworkRecipe) or not isinstance(recipe.backbone, ZooBackbone):
        return
    from cellassets.training.zoo import zoo_config

    try:
        zoo_config(recipe.backbone, n_channels=3, trained_px=recipe.augmentation.crop_px or 224)
    except RecipeError as error:
        message = f"{source}: {error}"
        raise ConfigError(message) from error
