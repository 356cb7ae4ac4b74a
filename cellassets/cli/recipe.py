"""`cellassets recipe`: the files that models are trained from."""

from pathlib import Path

import typer

from cellassets.cli.options import JsonOption
from cellassets.cli.output import show_json

app = typer.Typer(no_args_is_help=True, help="Recipes, from which models are trained.")


@app.command("check")
def check_recipe(path: Path, as_json: JsonOption = False) -> None:
    """Reads a recipe file and shows it with its defaults; an unknown key is refused."""
    import yaml
    from upath import UPath

    from cellassets.training.recipe import load_recipe

    values = load_recipe(UPath(path)).model_dump(mode="json")
    if as_json:
        show_json([values])
    else:
        typer.echo(yaml.safe_dump(values, sort_keys=False), nl=False)
