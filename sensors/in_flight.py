"""Partitions and assets whose runs are queued or running, from sensors, backfills and people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from resources.partitions import partition_key
from resources.runs import UNFINISHED, orders, places_of

if TYPE_CHECKING:
    from cellassets.reconcile.work import Work


@dataclass(frozen=True)
class InFlight:
    """Partitions and assets of unfinished runs; `started` are those that run. Read it before the state of the lake."""

    partitions: frozenset[tuple[str, str | None]]
    backfilled_assets: frozenset[str]
    started: frozenset[tuple[str, str | None]] = frozenset()

    def covers(self, work: "Work") -> bool:
        """True where a run for one of these assets and this partition, or a backfill of the asset, is under way."""
        key = partition_key(work.keys)
        return any((asset, key) in self.partitions or asset in self.backfilled_assets for asset in work.assets)

    def is_running(self, work: "Work") -> bool:
        """True where one of these assets is being made at this partition."""
        return any((asset, partition_key(work.keys)) in self.started for asset in work.assets)

    def has_any_but(self, assets: Sequence[str]) -> bool:
        """True where a run of any other asset is under way."""
        return any(asset not in assets for asset, _ in self.partitions)


def read_in_flight(instance: dg.DagsterInstance) -> InFlight:
    """Returns which partitions of which assets are queued or running."""
    partitions: set[tuple[str, str | None]] = set()
    started: set[tuple[str, str | None]] = set()
    backfilled: set[str] = set()
    order_of = orders(instance)
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)):
        places = places_of(run, order_of)
        partitions |= places
        if run.status == dg.DagsterRunStatus.STARTED:
            started |= places
        if "dagster/backfill" in run.tags:
            backfilled.update(key.to_user_string() for key in run.asset_selection or ())
    return InFlight(frozenset(partitions), frozenset(backfilled), frozenset(started))
