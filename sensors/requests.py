"""From missing work to what Dagster is asked for: partitions to add, runs to request, and what runs already."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from cellassets.errors import PartitionKeyError
from cellassets.fingerprint import check_partition_key
from resources.partitions import AXES, partition_key

if TYPE_CHECKING:
    from cellassets.reconcile.work import Waiting, Work

INTERVAL_S = 5
MAX_LISTED = 5
RUN_KEY_TAG = "dagster/run_key"

IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class InFlight:
    """What is queued or running, whoever asked for it. Read it before the state of the lake, not after."""

    partitions: frozenset[tuple[str, str | None]]
    backfilled_assets: frozenset[str]
    instance: dg.DagsterInstance

    def covers(self, work: "Work") -> bool:
        """True where a run for one of these assets and this partition, or a backfill of the asset, is under way."""
        key = partition_key(work.keys)
        return any((asset, key) in self.partitions or asset in self.backfilled_assets for asset in work.assets)

    def was_asked(self, work: "Work") -> bool:
        """True where a run was made for exactly this work before, whatever came of it."""
        return self.instance.get_runs_count(dg.RunsFilter(tags={RUN_KEY_TAG: work.run_key})) > 0

    def touches(self, asset_prefix: str) -> bool:
        """True where a run of an asset with this prefix is under way, whatever the partition."""
        return any(asset.startswith(asset_prefix) for asset, _ in self.partitions)


def read_in_flight(instance: dg.DagsterInstance) -> InFlight:
    """Returns which partitions of which assets are queued or running."""
    partitions: set[tuple[str, str | None]] = set()
    backfilled: set[str] = set()
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=IN_FLIGHT)):
        names = [key.to_user_string() for key in run.asset_selection or ()]
        partitions.update((name, run.tags.get("dagster/partition")) for name in names)
        if "dagster/backfill" in run.tags:
            backfilled.update(names)
    return InFlight(frozenset(partitions), frozenset(backfilled), instance)


def run_requests(work: Iterable["Work"], in_flight: InFlight, *, job_name: str | None = None) -> list[dg.RunRequest]:
    """Returns one run request for each piece of work that is not under way and was not asked for before.

    Args:
        work: what is missing.
        in_flight: what is queued or running.
        job_name: which of a sensor's jobs does it, where it has several.
    """
    return [
        dg.RunRequest(
            job_name=job_name,
            run_key=item.run_key,
            partition_key=partition_key(item.keys),
            asset_selection=[dg.AssetKey(name.split("/")) for name in item.assets],
        )
        for item in work
        if not in_flight.covers(item) and not in_flight.was_asked(item)
    ]


def additions(
    context: dg.SensorEvaluationContext, axis: str, keys: Iterable[str]
) -> list[dg.AddDynamicPartitionsRequest]:
    """Returns the request to add the keys of one axis that are new; one that cannot be a key is logged and left out."""
    known = set(context.instance.get_dynamic_partitions(axis))
    new = []
    for key in sorted(set(keys) - known):
        try:
            new.append(check_partition_key(key, axis))
        except PartitionKeyError as error:
            context.log.warning("left out: %s", error)
    return [AXES[axis].build_add_request(new)] if new else []


def answer(
    requests: Sequence[dg.RunRequest],
    added: Sequence[dg.AddDynamicPartitionsRequest],
    *,
    waiting: Sequence["Waiting"] = (),
    cursor: str | None = None,
) -> dg.SensorResult:
    """Returns a tick's answer; one that asks for nothing says what it waits for."""
    reason = None
    if not requests:
        listed = "; ".join(f"{item.what}: {item.reason}" for item in waiting[:MAX_LISTED])
        more = f"; and {len(waiting) - MAX_LISTED} more" if len(waiting) > MAX_LISTED else ""
        reason = dg.SkipReason(f"waiting: {listed}{more}" if waiting else "everything is there")
    return dg.SensorResult(
        run_requests=list(requests) if requests else None,
        skip_reason=reason,
        dynamic_partitions_requests=list(added),
        cursor=cursor,
    )
