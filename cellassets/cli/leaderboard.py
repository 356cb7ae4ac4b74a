"""`cellassets leaderboard`: all models compared."""

from typing import Annotated

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
    rows = read_table(published.file("leaderboard.parquet"), LEADERBOARD)
    if as_json:
        show_json(rows.to_dicts())
    else:
        Console().print(leaderboard_table(rows))


@app.command("by-source")
def show_recall_by_source(
    dataset_id: Annotated[str | None, typer.Option("--dataset", help="Only this dataset.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Shows recall of known relationships source by source: models as rows, annotation sources as columns."""
    import polars as pl
    from rich.console import Console

    from cellassets.judging.recall_by_source import source_tables
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import RECALL_BY_SOURCE

    published = deployment_at(home).lake.current("leaderboard")
    rows = read_table(published.file("recall_by_source.parquet"), RECALL_BY_SOURCE)
    if dataset_id is not None:
        rows = rows.filter(pl.col("dataset_id") == dataset_id)
    if as_json:
        show_json(rows.to_dicts())
    elif rows.is_empty():
        typer.echo("No up-to-date score of known_relationships. `cellassets annotation list` shows the sources.")
    else:
        for table in source_tables(rows):
            Console().print(table)
