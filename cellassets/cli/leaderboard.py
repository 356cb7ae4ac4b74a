"""`cellassets leaderboard`: all models compared."""

import typer

from cellassets.cli.options import HomeOption, JsonOption, deployment_at
from cellassets.cli.output import show_json

app = typer.Typer(no_args_is_help=True, help="All models compared.")


@app.command("show")
def show_leaderboard(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Shows all models side by side."""
    from rich.console import Console

    from cellassets.judging.leaderboard import leaderboard_table
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import LEADERBOARD

    published = deployment_at(home).lake.current("leaderboard")
    rows = read_table(published.path("leaderboard.parquet"), LEADERBOARD)
    if as_json:
        show_json(rows.to_dicts())
    else:
        Console().print(leaderboard_table(rows))
