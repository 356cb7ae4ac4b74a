"""`cellassets status`: how much of what should exist does, and what waits for what."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cellassets.cli.options import ConfigsOption, HomeOption, JsonOption, deployment_at
from cellassets.cli.output import grouped, show_json, show_rows

if TYPE_CHECKING:
    from cellassets.reconcile.standing import Standing
    from cellassets.storage.deployment import Deployment


def show_status(home: HomeOption = None, configs: ConfigsOption = None, as_json: JsonOption = False) -> None:
    """Shows how much of what should exist does, what waits, and for what."""
    stands, stopped = _standing(deployment_at(home, configs), home, with_stopped=not as_json)
    if as_json:
        show_json([dataclasses.asdict(stand) for stand in stands])
        return
    rows = [{"what": stand.what, "done": f"{stand.n_done} of {stand.n_total}"} for stand in stands]
    show_rows(rows, as_json=False, empty="")
    waiting = [line for stand in stands for line in grouped((item.reason, item.what) for item in stand.waiting)]
    if stopped:
        typer.echo("\n- ".join(["What was refused or has failed (`cellassets work list`):", *grouped(stopped)]))
    if waiting:
        typer.echo("\n- ".join(["What waits, and for what:", *waiting]))
    if stopped or waiting:
        return
    if all(stand.is_done for stand in stands):
        typer.echo("Everything that should exist does, and is up to date.")
    else:
        typer.echo("Nothing waits: Dagster's daemon makes the rest when it runs.")


def _standing(
    deployment: "Deployment", home: Path | None, *, with_stopped: bool
) -> "tuple[list[Standing], list[tuple[str, str]]]":
    """Returns how everything stands, and on request what was refused or has failed, with the reasons."""
    from cellassets.cli.work import stopped_work
    from cellassets.reconcile.live import LiveSnapshot
    from cellassets.reconcile.standing import standing
    from cellassets.stages.catalogue import stages
    from cellassets.stages.settings import policy

    snapshot = LiveSnapshot(deployment, stages())
    with snapshot.lock:
        snapshot.refresh()
        quiet = timedelta(minutes=policy(snapshot).landing.quiet_minutes)
        snapshot.refresh_landing({}, datetime.now(UTC), quiet)
        stands = standing(snapshot)
        is_all_done = all(stand.is_done for stand in stands)
        return stands, stopped_work(snapshot, home) if with_stopped and not is_all_done else []
