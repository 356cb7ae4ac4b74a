"""`cellassets status`: how much of what should exist does, and what waits for what."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import typer

from cellassets.cli.options import ConfigsOption, HomeOption, JsonOption, deployment_at
from cellassets.cli.output import show_json, show_rows

if TYPE_CHECKING:
    from cellassets.reconcile.standing import Standing
    from cellassets.reconcile.work import Waiting
    from cellassets.storage.deployment import Deployment

N_NAMED = 3  # of the partitions that wait for the same reason
N_REASONS = 20  # for each kind of asset


def show_status(home: HomeOption = None, configs: ConfigsOption = None, as_json: JsonOption = False) -> None:
    """Shows how much of what should exist does, what waits, and for what."""
    stands = _standing(deployment_at(home, configs))
    if as_json:
        show_json([dataclasses.asdict(stand) for stand in stands])
        return
    rows = [{"what": stand.what, "done": f"{stand.n_done} of {stand.n_total}"} for stand in stands]
    show_rows(rows, as_json=False, empty="")
    waiting = [line for stand in stands for line in _reasons(stand.waiting)]
    if waiting:
        typer.echo("What waits, and for what:")
        for line in waiting:
            typer.echo(f"- {line}")
    elif all(stand.is_done for stand in stands):
        typer.echo("Everything that should exist does, and is up to date.")
    else:
        typer.echo("Nothing waits: Dagster's daemon makes the rest when it runs.")


def _standing(deployment: "Deployment") -> "list[Standing]":
    from cellassets.reconcile.live import LiveSnapshot
    from cellassets.reconcile.standing import standing
    from cellassets.stages.catalogue import stages
    from cellassets.stages.settings import policy

    snapshot = LiveSnapshot(deployment, stages())
    with snapshot.lock:
        snapshot.refresh()
        quiet = timedelta(minutes=policy(snapshot).landing.quiet_minutes)
        snapshot.refresh_landing({}, datetime.now(UTC), quiet)
        return standing(snapshot)


def _reasons(waiting: "Sequence[Waiting]") -> list[str]:
    """One line per reason, with the first few of what waits for it."""
    by_reason: dict[str, list[str]] = {}
    for item in waiting:
        by_reason.setdefault(item.reason, []).append(item.what)
    lines = [f"{_named(names)}: {reason}" for reason, names in by_reason.items()]
    n_more = len(lines) - N_REASONS
    return [*lines[:N_REASONS], *([f"{n_more} further reasons; --json lists all"] if n_more > 0 else [])]


def _named(names: Sequence[str]) -> str:
    n_more = len(names) - N_NAMED
    return ", ".join(names[:N_NAMED]) + (f" and {n_more} more" if n_more > 0 else "")
