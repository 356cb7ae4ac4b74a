"""`cellassets recipe`: the files that models are trained from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cellassets.cli.options import JsonOption, deployment_at
from cellassets.cli.output import show_json, show_rows

if TYPE_CHECKING:
    from upath import UPath

    from cellassets.training.recipe import Family, Recipe, Variant

RecipeFile = Annotated[Path, typer.Argument(metavar="FILE", help="YAML file of a recipe or a search.")]
ComparedHome = Annotated[
    Path | None,
    typer.Option(
        "--home",
        show_default=False,
        help="Folder of a local deployment, to compare the recipe with the experiments that landed and are stored "
        "there. Without it, only the file is read.",
    ),
]
app = typer.Typer(no_args_is_help=True, help="Recipes, from which models are trained.")


@app.command("check")
def check_recipe(path: RecipeFile, home: ComparedHome = None, as_json: JsonOption = False) -> None:
    """Reads a recipe file and shows it with its defaults, or the variants of its search; a wrong key is refused.

    With `--home` it is also compared with a deployment. Experiments that did not land are refused with similar names,
    and so is what the training would refuse, such as a crop that is larger than the stored images. Experiments that are
    not stored yet are named. Nothing is trained.

    Example: cellassets recipe check configs/demo/recipes/resnet_ce.yaml --home demo
    """
    import yaml
    from upath import UPath

    from cellassets.configuration import all_values
    from cellassets.training.recipe import load_recipe
    from cellassets.training.recipe.family import has_search

    if has_search(UPath(path)):
        _check_search(UPath(path), home, as_json=as_json)
        return
    recipe = load_recipe(UPath(path))
    _check_zoo(recipe, str(path))
    _compare({str(path): recipe}, home)
    values = all_values(recipe)
    if as_json:
        show_json([values])
    else:
        typer.echo(f"# {path} is a valid recipe. With all defaults:")
        typer.echo(yaml.safe_dump(values, sort_keys=False), nl=False)


def _check_search(path: "UPath", home: Path | None, *, as_json: bool) -> None:
    """Shows the variants of a search; of a Bayesian one, which proposes them later, what it varies."""
    from cellassets.training.recipe import BayesianSearch, checked_family
    from cellassets.training.recipe.variant_names import shown_value

    family, variants = checked_family(path)
    for variant in variants:
        _check_zoo(variant.recipe, f"{path}: variant {variant.name}")
    compared = variants or (family.variant({}),)  # a Bayesian search proposes its variants later
    _compare({f"{path}: variant {variant.name}": variant.recipe for variant in compared}, home)
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


def _compare(recipes: "dict[str, Recipe]", home: Path | None) -> None:
    """Compares recipes, by where they are from, with a deployment, if one is named; says what they wait for."""
    if home is None:
        return
    from cellassets.stages.catalogue import open_snapshot
    from cellassets.stages.training_inputs import check_fit

    snapshot = open_snapshot(deployment_at(home))
    waits_for = {check_fit(snapshot, recipe, source=source) for source, recipe in recipes.items()} - {""}
    for line in sorted(waits_for) or [f"compared with {home}: everything that it is trained on is stored, and fits"]:
        typer.echo(line, err=True)


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
