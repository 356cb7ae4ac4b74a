"""`cellassets sql`: one SQL statement over all published tables."""

from typing import Annotated

import typer

from cellassets.cli.options import HomeOption, JsonOption, deployment_at
from cellassets.cli.output import show_csv, show_rows
from cellassets.stages.costs import VIEW
from cellassets.stages.tables import VIEWS

EPILOG = (
    f"Views: {', '.join(sorted([*VIEWS.values(), VIEW]))}. A view exists as soon as one of its tables is published."
)


def run_sql(
    statement: Annotated[str, typer.Argument(help="One SELECT, such as: SELECT count(*) FROM wells.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
) -> None:
    """Answers one SQL statement over all published tables.

    Rows that are too wide for the terminal are shown one below the other. `DESCRIBE wells` shows the columns of a view.
    """
    from cellassets.stages.tables import query_lake

    if as_json and as_csv:
        message = "--json and --csv exclude each other"
        raise typer.BadParameter(message)
    answer = query_lake(deployment_at(home).lake, statement)
    if as_csv:
        show_csv(answer.columns, answer.to_dicts())
    else:
        show_rows(answer.to_dicts(), as_json=as_json, empty="no rows")
