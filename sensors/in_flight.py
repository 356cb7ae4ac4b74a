"""Partitions and assets whose runs are queued or running, from sensors, backfills and people."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import dagster as dg

from resources.partitions import RANGE_END, RANGE_START, partition_key
from resources.runs import UNFINISHED

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
        names = [key.to_user_string() for key in run.asset_selection or ()]
        for key in partitions_of_run(run, order_of):
            partitions.update((name, key) for name in names)
            if run.status == dg.DagsterRunStatus.STARTED:
                started.update((name, key) for name in names)
        if "dagster/backfill" in run.tags:
            backfilled.update(names)
    return InFlight(frozenset(partitions), frozenset(backfilled), frozenset(started))


def orders(instance: dg.DagsterInstance) -> Callable[[str], list[str]]:
    """Returns the function that gives the keys of an axis in Dagster's order; it reads each axis once.

    A backfill queues a thousand ranges.
    """
    return cache(lambda axis: list(instance.get_dynamic_partitions(axis)))


def partitions_of_run(run: dg.DagsterRun, order_of: Callable[[str], list[str]]) -> list[str | None]:
    """Returns the partition keys of a run; for a range all keys from the first to the last.

    Args:
        run: the run.
        order_of: gives the keys of an axis in Dagster's order, as `orders` returns it.
    """
    if RANGE_START not in run.tags:
        return [run.tags.get("dagster/partition")]
    start, end = run.tags[RANGE_START].split("|"), run.tags[RANGE_END].split("|")
    for axis in ("experiment",) if len(start) > 1 else ("model", "experiment", "recipe"):
        order = order_of(axis)
        if start[0] in order and end[0] in order:
            return ["|".join([key, *start[1:]]) for key in order[order.index(start[0]) : order.index(end[0]) + 1]]
    return [run.tags[RANGE_START], run.tags[RANGE_END]]
