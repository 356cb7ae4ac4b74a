"""`cellassets lake`: the lake as a whole."""

import dataclasses

import typer

from cellassets.cli.options import HomeOption, JsonOption, deployment_at
from cellassets.cli.output import show_json

app = typer.Typer(no_args_is_help=True, help="The lake as a whole.")


@app.command("scan")
def scan_lake(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Lists all commit records and corrects the catalogue where it differs from them.

    Names every commit record that cannot be read on stderr, with status 1.
    """
    found = deployment_at(home).lake.scan()
    if as_json:
        show_json(dataclasses.asdict(found))
    else:
        typer.echo(
            f"{found.n_found} artefacts found; {found.n_noted} noted, {found.n_forgotten} forgotten in the catalogue"
        )
    for reason in found.unreadable:
        typer.echo(reason, err=True)
    if found.unreadable:
        raise typer.Exit(1)
