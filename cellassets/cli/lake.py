"""`cellassets lake`: the lake as a whole."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cellassets.cli.options import (
    PRUNE_AFTER_DAYS,
    ConfigsOption,
    DeleteOption,
    HomeOption,
    JsonOption,
    deployment_at,
)
from cellassets.cli.output import grouped, progress_bar, show_json, show_rows
from cellassets.cli.work import oldest_unfinished_run

if TYPE_CHECKING:
    from cellassets.progress import Progress
    from cellassets.storage.deployment import Deployment
    from cellassets.storage.lake import Lake
    from cellassets.storage.superseded import Piece, Survey

MIN_DAYS = 2  # a clock that is wrong by a day, or a reader outside Dagster, loses nothing

app = typer.Typer(no_args_is_help=True, help="The lake as a whole.")


@app.command("scan")
def scan_lake(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Lists all commit records and corrects the catalogue where it differs from them.

    Reads the commit records that the catalogue does not know. Names those that cannot be read on stderr, with status 1;
    `cellassets artifact verify` reads all.
    """
    found = deployment_at(home).lake.scan()
    if as_json:
        show_json(dataclasses.asdict(found))
    else:
        typer.echo(
            f"{found.n_found} artefacts found; {found.n_noted} noted, {found.n_forgotten} forgotten in the catalogue"
        )
    _end(found.unreadable)


@app.command(
    "prune", epilog="Example: `cellassets lake prune` says what would go; `cellassets lake prune --delete` does it."
)
def prune_lake(
    delete: DeleteOption = False,
    older_than: Annotated[
        int,
        typer.Option("--older-than", min=MIN_DAYS, help="Only what was superseded or written this many days ago."),
    ] = PRUNE_AFTER_DAYS,
    has_no_dagster: Annotated[
        bool, typer.Option("--no-dagster", help="No Dagster works on this lake: there are no runs to wait for.")
    ] = False,
    home: HomeOption = None,
    configs: ConfigsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deletes superseded publications and unfinished work; without --delete only says what would go.

    Current publications, and what they were made from, always stay. Names every commit record that cannot be read on
    stderr, with status 1; nothing is deleted at its address.
    """
    deployment = deployment_at(home, configs)
    before, young = _limit(older_than, None if has_no_dagster else oldest_unfinished_run(home))
    with progress_bar() as report:
        if delete:
            deployment.lake.scan()  # whoever plans from now on reads what is current
        found = _survey(deployment, before, young, report)
        freed, faults = _remove(deployment.lake, found, before, report) if delete else ({}, [])
    if as_json:
        pieces = [{**_described(piece), "n_bytes_freed": freed.get(piece, 0)} for piece in found.pieces]
        show_json({"is_deleted": delete, "before": before.isoformat(), "pieces": pieces})
    else:
        _show(found, freed if delete else None)
    _end((*found.unreadable, *faults))


def _limit(older_than: int, oldest: tuple[str, datetime] | None) -> tuple[datetime, str]:
    """Returns the time before which things may go, and the reason of what stays since it is younger."""
    before = datetime.now(UTC) - timedelta(days=older_than)
    if oldest is None or oldest[1] >= before:
        return before, f"younger than {older_than} days"
    return oldest[1], f"younger than run {oldest[0]}, which is not finished"


def _survey(deployment: "Deployment", before: datetime, young: str, report: "Progress") -> "Survey":
    from cellassets.reconcile.retention import n_keys_of, needs_of
    from cellassets.stages.catalogue import open_snapshot
    from cellassets.storage.superseded import survey

    snapshot = open_snapshot(deployment)
    return survey(deployment.lake, n_keys_of(snapshot), needs_of(snapshot, before, young), progress=report)


def _remove(
    lake: "Lake", found: "Survey", before: datetime, report: "Progress"
) -> tuple[dict["Piece", int], list[str]]:
    """Returns the bytes that were freed by each piece, and why pieces could not be removed."""
    from cellassets.storage.removal import remove

    freed, faults = {}, []
    free = [piece for piece in found.pieces if not piece.reason]
    for n_done, piece in enumerate(free):
        report(n_done, len(free), "pieces deleted")
        try:
            freed[piece] = remove(lake, piece, before=before)
        except OSError as error:
            faults.append(f"{piece.name}: not deleted, or not completely: {error}; repeat the command")
    return freed, faults


def _show(found: "Survey", freed: "dict[Piece, int] | None") -> None:
    from rich.filesize import decimal

    rows = []
    for kind, state in sorted({(piece.kind, piece.state) for piece in found.pieces}):
        own = [piece for piece in found.pieces if (piece.kind, piece.state) == (kind, state)]
        going = [piece for piece in own if not piece.reason]
        rows.append(
            {
                "kind": kind,
                "what": state,
                "goes": len(going),
                "size": decimal(sum(piece.n_bytes for piece in going)),
                "stays": len(own) - len(going),
                "size that stays": decimal(sum(piece.n_bytes for piece in own) - sum(one.n_bytes for one in going)),
            }
        )
    show_rows(rows, as_json=False, empty="Nothing is superseded or unfinished.")
    lines = grouped((piece.reason, piece.name) for piece in found.pieces if piece.reason)
    if lines:
        typer.echo("What stays, and why:")
    for line in lines:
        typer.echo(f"- {line}")
    if freed is not None:
        typer.echo(f"{sum(freed.values())} bytes freed.")
    elif rows:
        n_bytes = sum(piece.n_bytes for piece in found.pieces if not piece.reason)
        typer.echo(f"{n_bytes} bytes would go; add --delete to delete them.")


def _described(piece: "Piece") -> dict[str, object]:
    return {
        "state": piece.state,
        "kind": piece.kind,
        "keys": piece.keys,
        "generation": piece.generation,
        "name": piece.name,
        "n_files": piece.n_files,
        "n_bytes": piece.n_bytes,
        "reason": piece.reason,
    }


def _end(faults: tuple[str, ...]) -> None:
    for fault in faults:
        typer.echo(fault, err=True)
    if faults:
        raise typer.Exit(1)
