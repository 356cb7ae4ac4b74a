"""`cellassets <noun> <verb>`: the library from a shell. One file per noun.

Results go to stdout, logs and progress bars to stderr. Exit status: 0 fine, 1 the data was refused, 2 wrong usage.
Heavy modules are imported inside the commands, so that `--help` answers at once.
"""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from cellassets.cli import (
    annotation,
    artifact,
    dataset,
    experiment,
    explore,
    export,
    lake,
    leaderboard,
    maps,
    model,
    recipe,
    screen,
    sql,
    status,
    work,
)
from cellassets.errors import CellAssetsError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",  # else the lines of docstrings are broken twice on 80 columns
    help="Maps of cell biology as data assets. `cellassets NOUN --help` lists the verbs of a noun.",
)
for _noun in (screen, experiment, recipe, dataset, model, leaderboard, annotation, artifact, export, lake, work):
    app.add_typer(_noun.app, name=_noun.__name__.rpartition(".")[2])
app.add_typer(maps.app, name="map")
app.command("status")(status.show_status)
app.command("explore", epilog=explore.EXAMPLE)(explore.explore)
app.command("sql", epilog=sql.EPILOG)(sql.run_sql)


def _show_version(is_asked: bool) -> bool:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"cellassets {version('cellassets')}")
        raise typer.Exit
    return is_asked


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Holds the options that stand before a noun."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; a refusal ends with its message and status 1.

    Args:
        arguments: what stands after `cellassets`; those of this process where it is None.
    """
    try:
        app(args=arguments)
    except CellAssetsError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(1)
