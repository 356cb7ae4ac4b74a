"""Everything that should exist and does not: what is missing, queued, running, waiting, refused or failed, and why.

The command line shows it, and asks again for what was refused or failed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from cellassets.reconcile.work import Agenda, Work
from cellassets.stages.settings import retry_policy
from resources.partitions import partition_key
from sensors.in_flight import InFlight, read_in_flight
from sensors.outlook import Outlook

if TYPE_CHECKING:
    from cellassets.reconcile.live import LiveSnapshot

STATES = ("refused", "failed", "running", "queued", "restarting", "retrying", "missing", "waiting")


@dataclass(frozen=True)
class Entry:
    """One partition that is not current.

    Attributes:
        what: the assets that are due there, or what waits.
        partition: its partition key; empty for an asset without partitions, and for what waits.
        state: one of `STATES`. `retrying` waits for its next attempt, `missing` is asked for at the next tick, and
            `waiting` waits for something else, which the reason names.
        n_attempts: failed attempts that count.
        reason: what it waits for, or why its last run ended.
    """

    what: str
    partition: str
    state: str
    n_attempts: int
    reason: str


def work_list(snapshot: "LiveSnapshot", instance: dg.DagsterInstance) -> list[Entry]:
    """Returns every partition that is not current, in the order of the flow.

    Args:
        snapshot: a snapshot; its landing zone must have been read.
        instance: Dagster's instance.
    """
    in_flight, outlook = read_in_flight(instance), _outlook(snapshot, instance)
    snapshot.refresh()
    entries = []
    for agenda in agendas(snapshot):
        entries += [_entry(item, in_flight, outlook) for item in agenda.work]
        entries += [Entry(waiting.what, "", "waiting", 0, waiting.reason) for waiting in agenda.waiting]
    return entries


def ask_again(
    snapshot: "LiveSnapshot", instance: dg.DagsterInstance, asset: str | None = None, partition: str | None = None
) -> list[str]:
    """Returns the due partitions with failed attempts, after noting that a person asks for them again.

    Args:
        snapshot: a snapshot; its landing zone must have been read.
        instance: Dagster's instance.
        asset: only where this asset is due.
        partition: only this partition.
    """
    outlook = _outlook(snapshot, instance)
    asked = []
    for item in _due(snapshot):
        key = partition_key(item.keys) or ""
        if (asset is None or asset in item.assets) and partition in (None, key) and outlook.pardon(item):
            asked.append(" of ".join(filter(None, (item.assets[0], key))))
    return asked


def look_at_landing(snapshot: "LiveSnapshot") -> None:
    """Reads the landing zone. A folder without a marker counts as complete: its sensor alone knows its quiet time."""
    snapshot.refresh_landing(snapshot.landing.first_seen, datetime.now(UTC), timedelta(0))


def agendas(snapshot: "LiveSnapshot") -> Sequence[Agenda]:
    """Returns the agendas of all sensors, in the order of the flow."""
    from cellassets.reconcile.standing import (
        leaderboard_agenda,
        plate_agenda,
        recipe_agenda,
        report_agenda,
        search_agenda,
    )
    from cellassets.reconcile.work import embedding_agenda, map_agenda

    models = (recipe_agenda, search_agenda, embedding_agenda)
    every = (plate_agenda, *models, map_agenda, leaderboard_agenda, report_agenda)
    return [agenda(snapshot) for agenda in every]


def _due(snapshot: "LiveSnapshot") -> Iterator[Work]:
    for agenda in agendas(snapshot):
        yield from agenda.work


def _outlook(snapshot: "LiveSnapshot", instance: dg.DagsterInstance) -> Outlook:
    outlook = Outlook.of(instance)
    outlook.retries = retry_policy(snapshot)
    return outlook


def _entry(item: Work, in_flight: InFlight, outlook: Outlook) -> Entry:
    found = outlook.verdict(item)
    state = {"ready": "missing", "waiting": "retrying"}.get(found.outcome, found.outcome)
    if in_flight.covers(item):
        state = "running" if in_flight.is_running(item) else "queued"
    names = ", ".join(item.assets[:3]) + (f" and {len(item.assets) - 3} more" if len(item.assets) > 3 else "")
    return Entry(names, partition_key(item.keys) or "", state, found.n_attempts, outlook.in_words(item, found))
