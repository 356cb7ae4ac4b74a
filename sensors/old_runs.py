"""Old runs of Dagster that nothing needs any more: their records, events and compute logs. Used by `work prune`.

A run stays if it made the latest materialisation of a partition, since the page of the asset shows it; if it ended
without success and one of its partitions was not made since, since the sensors read from it what failed and how often;
and if it belongs to a backfill that is not finished. Checks are evaluated by the runs that make a partition.

Dagster removes its ticks by itself (`retention` in `dagster.yaml`).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import dagster as dg

from cellassets.progress import Progress, no_progress
from resources.runs import ENDED, UNFINISHED, orders, partitions_of_run, stages_of

BACKFILL_TAG = "dagster/backfill"
UNFINISHED_BACKFILL = ("REQUESTED", "CANCELING", "FAILING")
N_READ_AT_ONCE = 100
Target = tuple[str, str | None]  # asset and partition key


@dataclass(frozen=True)
class OldRun:
    """A run that ended before some time.

    Attributes:
        run_id: its id.
        status: how it ended.
        what: its assets, or its job.
        ended_at: UTC, ISO 8601.
        reason: why it stays; empty if nothing needs it.
    """

    run_id: str
    status: str
    what: str
    ended_at: str
    reason: str


def oldest_unfinished(instance: dg.DagsterInstance) -> tuple[str, datetime] | None:
    """Returns the oldest run that is queued or running, with the time at which it was created; None without one."""
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED), limit=1, ascending=True):
        return record.dagster_run.run_id, record.create_timestamp
    return None


def old_runs(instance: dg.DagsterInstance, before: datetime, *, progress: Progress = no_progress) -> list[OldRun]:
    """Returns the runs that ended before a time, oldest first, each with the reason if it stays.

    Args:
        instance: Dagster's instance.
        before: the time, with a time zone.
        progress: receives the number of assets and runs that were looked at.
    """
    records = list(_ended_before(instance, before))
    latest = _Latest()
    keys = instance.get_asset_keys() if records else ()
    for n_done, key in enumerate(keys):
        progress(n_done, len(keys), "assets read")
        latest.read(instance, key)
    unfinished = {one.backfill_id for one in instance.get_backfills() if one.status.value in UNFINISHED_BACKFILL}
    found, order_of = [], orders(instance)
    for n_done, record in enumerate(records):
        progress(n_done, len(records), "runs looked at")
        run = record.dagster_run
        reason = _why_it_stays(instance, record, latest, order_of)
        if run.tags.get(BACKFILL_TAG) in unfinished:
            reason = "its backfill is not finished"
        ended_at = record.update_timestamp.isoformat(timespec="seconds")
        what = ", ".join(stages_of(run, instance)) or run.job_name
        found.append(OldRun(run.run_id, run.status.value, what, ended_at, reason))
    return found


def delete_runs(instance: dg.DagsterInstance, runs: Sequence[OldRun], *, progress: Progress = no_progress) -> int:
    """Returns how many runs were deleted, each with its events and compute logs; those that are gone do not count.

    Args:
        instance: Dagster's instance.
        runs: some of `old_runs`; those with a reason to stay are left alone.
        progress: receives the number of runs.
    """
    n_deleted = 0
    free = [run for run in runs if not run.reason]
    for n_done, run in enumerate(free):
        progress(n_done, len(free), "runs deleted")
        if instance.get_run_by_id(run.run_id) is None:  # somebody else deleted it
            continue
        instance.compute_log_manager.delete_logs(prefix=[run.run_id])
        instance.delete_run(run.run_id)
        _delete_event_file(instance, run.run_id)
        n_deleted += 1
    return n_deleted


@dataclass
class _Latest:
    """The latest materialisation of each partition: the run that made it, and when."""

    by_target: dict[Target, tuple[str, float]] = field(default_factory=dict)
    of_run: dict[str, Target] = field(default_factory=dict)

    def read(self, instance: dg.DagsterInstance, key: dg.AssetKey) -> None:
        """Reads the latest materialisations of one asset."""
        by_partition = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
        ids = sorted(by_partition.values())
        for start in range(0, len(ids), N_READ_AT_ONCE):
            some = ids[start : start + N_READ_AT_ONCE]
            wanted = dg.AssetRecordsFilter(asset_key=key, storage_ids=some)
            self._note(key, instance.fetch_materializations(wanted, limit=len(some)).records)
        self._note(key, instance.fetch_materializations(key, limit=1).records)

    def _note(self, key: dg.AssetKey, records: Sequence[dg.EventLogRecord]) -> None:
        for record in records:
            target = (key.to_user_string(), record.partition_key)
            self.by_target[target] = record.run_id, record.timestamp
            self.of_run[record.run_id] = target


def _ended_before(instance: dg.DagsterInstance, before: datetime) -> Iterator[dg.RunRecord]:
    wanted, cursor = dg.RunsFilter(statuses=ENDED, updated_before=before), None
    while records := instance.get_run_records(wanted, limit=N_READ_AT_ONCE, ascending=True, cursor=cursor):
        yield from records
        cursor = records[-1].dagster_run.run_id


def _why_it_stays(
    instance: dg.DagsterInstance, record: dg.RunRecord, latest: _Latest, order_of: Callable[[str], list[str]]
) -> str:
    run = record.dagster_run
    if run.run_id in latest.of_run:
        return f"made the latest materialisation of {_named(latest.of_run[run.run_id])}"
    if run.asset_check_selection and not run.asset_selection:
        return "evaluated checks alone"
    if run.status == dg.DagsterRunStatus.SUCCESS:
        return ""
    ended_s = record.end_time or record.update_timestamp.timestamp()
    for asset in stages_of(run, instance):
        for key in partitions_of_run(run, order_of):
            if latest.by_target.get((asset, key), ("", 0.0))[1] <= ended_s:
                return f"ended without success, and {_named((asset, key))} was not made since"
    return ""


def _named(target: Target) -> str:
    asset, key = target
    return f"{asset} of {key}" if key else asset


def _delete_event_file(instance: dg.DagsterInstance, run_id: str) -> None:
    """On SQLite the events of each run have a file of their own, which Dagster empties and leaves."""
    path_of = getattr(instance.event_log_storage, "path_for_shard", None)
    if path_of is None:
        return
    for ending in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(path_of(run_id) + ending)  # noqa: PTH108
