"""How results are printed: a table where it fits the terminal, otherwise one record below the other; JSON; CSV; bars.

Standard output gets results only. Progress bars and notes go to standard error.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from cellassets.progress import Progress

Row = Mapping[str, Any]
MAX_ROWS = 1000
# Source: OWASP, CSV injection
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
N_SHOWN_VALUES = 3  # of a list in a cell
N_NAMED = 3  # of what has the same reason
N_REASONS = 20


def show_rows(rows: Sequence[Row], *, as_json: bool, empty: str) -> None:
    """Prints rows that have the same columns.

    Args:
        rows: column names to values.
        as_json: print a JSON list instead.
        empty: printed where there is no row; says what to do next.
    """
    if as_json:
        show_json(rows)
        return
    if not rows:
        typer.echo(empty)
        return
    console = Console(highlight=False)
    shown = rows[:MAX_ROWS]
    table = _table(shown)
    widest = Measurement.get(console, console.options.update(max_width=1_000_000), table).maximum
    if widest <= console.width:
        console.print(table)
    else:
        _print_records(console, shown, len(rows))
    if len(rows) > MAX_ROWS:
        typer.echo(f"The first {MAX_ROWS} of {len(rows)} rows; --json prints all.", err=True)


def show_json(value: object) -> None:
    """Prints a value as JSON; numbers that are not finite become null."""
    typer.echo(json.dumps(_finite(value), default=str))


def show_csv(columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Prints rows as CSV with a header; lists and structures are JSON inside their cells, null is empty.

    A text that a spreadsheet would execute as a formula gets an apostrophe in front, unless it is a number.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(_csv_cell(value) for value in row.values())
    typer.echo(stream.getvalue(), nl=False)


def grouped(reasons: Iterable[tuple[str, str]]) -> list[str]:
    """Returns one line per reason, with the first few of the names that it holds for.

    Args:
        reasons: reason and name of each thing.
    """
    by_reason: dict[str, list[str]] = {}
    for reason, name in reasons:
        by_reason.setdefault(reason, []).append(name)
    lines = [f"{_first_names(names)}: {reason}" for reason, names in by_reason.items()]
    n_more = len(lines) - N_REASONS
    return [*lines[:N_REASONS], *([f"{n_more} further reasons; --json lists all"] if n_more > 0 else [])]


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Yields a progress callback that draws one bar on standard error for each kind of work."""
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    with Bars(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def report(n_done: int, n_total: int, what: str, /, note: str = "") -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=n_done, total=n_total, description=f"{what} {note}".strip())

        yield report


def _first_names(names: Sequence[str]) -> str:
    n_more = len(names) - N_NAMED
    return ", ".join(names[:N_NAMED]) + (f" and {n_more} more" if n_more > 0 else "")


def _table(rows: Sequence[Row]) -> Table:
    table = Table()
    for name in rows[0]:
        is_number = all(_is_number(row[name]) for row in rows if row[name] is not None)
        table.add_column(Text(name), justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    return table


def _print_records(console: Console, rows: Sequence[Row], n_rows: int) -> None:
    for number, row in enumerate(rows, start=1):
        console.print(Text(f"row {number} of {n_rows}", style="bold"))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in row.items():
            grid.add_row(Text(f"  {name}"), Text(_cell(value)))
        console.print(grid)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        shown = ", ".join(_cell(item) for item in value[:N_SHOWN_VALUES])
        return f"{shown}, … ({len(value)} values)" if len(value) > N_SHOWN_VALUES else shown
    return str(value)


def _csv_cell(value: object) -> object:
    if isinstance(value, list | dict):
        return json.dumps(value, default=str)
    if isinstance(value, str) and value.startswith(FORMULA_STARTS) and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
