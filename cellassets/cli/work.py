"""`cellassets work`: what is missing, queued, running, refused or failed, and asking again.

This module and `cellassets.definitions` are the only ones of the library that know Dagster: it reads Dagster's runs.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
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
from cellassets.errors import ConfigError
from cellassets.storage.deployment import DEFAULT_HOME, Deployment, Home

if TYPE_CHECKING:
    import dagster as dg

    from cellassets.reconcile.live import LiveSnapshot

STOPPED = ("refused", "failed")
MIN_RUN_DAYS = 7  # the alerts of `failed_runs` look back a week


class NoDagster(ConfigError):
    """There is no Dagster instance at a home."""


app = typer.Typer(no_args_is_help=True, help="What should exist and does not, why, and asking for it again.")


@app.command("list")
def list_work(
    state: Annotated[
        str | None, typer.Option("--state", help="Only this state, for example failed, refused, running or missing.")
    ] = None,
    home: HomeOption = None,
    configs: ConfigsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lists every partition that is missing or out of date: its state, its attempts, and what it waits for."""
    from sensors.work_list import STATES, work_list

    if state not in (None, *STATES):
        message = f"--state {state}: expected one of {', '.join(STATES)}"
        raise typer.BadParameter(message)
    snapshot = _snapshot(deployment_at(home, configs))
    with snapshot.lock, dagster_at(home) as instance:
        entries = work_list(snapshot, instance)
    counts = Counter(entry.state for entry in entries)
    shown = [dataclasses.asdict(entry) for entry in entries if state in (None, entry.state)]
    show_rows(shown, as_json=as_json, empty=f"Nothing is {state or 'missing or out of date'}.")
    if not as_json and shown:
        typer.echo(", ".join(f"{counts[name]} {name}" for name in STATES if counts[name]))


@app.command("retry")
def retry_work(
    asset: Annotated[str | None, typer.Argument(help="Only this asset, for example plate_store.")] = None,
    partition: Annotated[str | None, typer.Argument(help="Only this partition, for example 'HUVEC-1|net.v1'.")] = None,
    home: HomeOption = None,
    configs: ConfigsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Asks again for work that was refused, has failed, or waits for its next attempt; all of it without arguments.

    The sensors of a running daemon ask for it at their next tick, within seconds.
    """
    from sensors.work_list import ask_again

    if asset is not None:
        _check_asset(asset)
    snapshot = _snapshot(deployment_at(home, configs))
    with snapshot.lock, dagster_at(home) as instance:
        asked = ask_again(snapshot, instance, asset, partition)
    if partition is not None and not asked:
        typer.echo(
            f"{asset} of {partition} was not refused and has not failed; `cellassets work list` shows all", err=True
        )
        raise typer.Exit(1)
    if as_json:
        show_json(asked)
        return
    for name in asked:
        typer.echo(name)
    typer.echo(f"{len(asked)} to be asked for again" if asked else "Nothing that matches was refused or has failed.")


@app.command(
    "prune", epilog="Example: `cellassets work prune` says what would go; `cellassets work prune --delete` does it."
)
def prune_work(
    delete: DeleteOption = False,
    older_than: Annotated[
        int, typer.Option("--older-than", min=MIN_RUN_DAYS, help="Only runs that ended this many days ago.")
    ] = PRUNE_AFTER_DAYS,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deletes old runs of Dagster with their events and compute logs; without --delete only says what would go.

    A run stays if it made the latest materialisation of a partition, if a partition that it failed at was not made
    since, or if its backfill is not finished. Runs in progress are never touched.
    """
    from sensors.old_runs import delete_runs, old_runs

    before = datetime.now(UTC) - timedelta(days=older_than)
    n_deleted = 0
    with dagster_at(home) as instance, progress_bar() as report:
        found = old_runs(instance, before, progress=report)
        if delete:
            n_deleted = delete_runs(instance, found, progress=report)
    if as_json:
        show_json({"is_deleted": delete, "n_deleted": n_deleted, "runs": [dataclasses.asdict(run) for run in found]})
        return
    n_free = sum(not run.reason for run in found)
    typer.echo(f"{len(found)} runs ended more than {older_than} days ago; {len(found) - n_free} of them stay.")
    for line in grouped((run.reason, f"{run.what} ({run.run_id[:8]})") for run in found if run.reason):
        typer.echo(f"- {line}")
    typer.echo(f"{n_deleted} runs deleted." if delete else f"{n_free} would go; add --delete to delete them.")


def oldest_unfinished_run(home: Path | None) -> tuple[str, datetime] | None:
    """Returns the oldest run that is queued or running, with the time at which it was created; None without one.

    Raises:
        NoDagster: there is no Dagster instance.
    """
    from sensors.old_runs import oldest_unfinished

    with dagster_at(home) as instance:
        return oldest_unfinished(instance)


def stopped_work(snapshot: "LiveSnapshot", home: Path | None) -> list[tuple[str, str]]:
    """Returns what was refused or has failed, as pairs of the reason and the partition; nothing without Dagster.

    Args:
        snapshot: a snapshot; its landing zone must have been read.
        home: the deployment's folder; None for what the environment names.
    """
    from sensors.work_list import work_list

    try:
        with dagster_at(home) as instance:
            entries = work_list(snapshot, instance)
    except NoDagster:
        return []
    stopped = [entry for entry in entries if entry.state in STOPPED]
    return [(f"{one.state}: {one.reason}", " of ".join(filter(None, (one.what, one.partition)))) for one in stopped]


@contextmanager
def dagster_at(home: Path | None) -> "Iterator[dg.DagsterInstance]":
    """Yields Dagster's instance: that of the home, or the one that DAGSTER_HOME names.

    Raises:
        NoDagster: there is none.
    """
    import dagster as dg

    own = Home((home or Path(os.environ.get("CELLASSETS_HOME", DEFAULT_HOME))).absolute()).dagster_home
    folder = own if home is not None else Path(os.environ.get("DAGSTER_HOME") or own)
    if not (folder / "dagster.yaml").is_file():
        message = f"{folder}: no Dagster instance (dagster.yaml) here; name its home with --home, or set DAGSTER_HOME"
        raise NoDagster(message)
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def _check_asset(name: str) -> None:
    from cellassets.stages.catalogue import stages

    if name not in stages():
        message = f"{name}: no such asset; there are {', '.join(stages())}"
        raise typer.BadParameter(message)


def _snapshot(deployment: "Deployment") -> "LiveSnapshot":
    from cellassets.reconcile.live import LiveSnapshot
    from cellassets.stages.catalogue import stages
    from sensors.work_list import look_at_landing

    snapshot = LiveSnapshot(deployment, stages())
    snapshot.refresh()
    look_at_landing(snapshot)
    return snapshot
