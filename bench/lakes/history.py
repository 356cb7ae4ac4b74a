"""Fills an empty Dagster instance with the runs and events that a lake's artefacts would have left there.

Every artefact gets what its asset writes: a planned event, a materialisation with the asset's own metadata and tags,
and a result of each check, in runs with the tags of the sensors' runs (all assets of a plate or of a map in one run,
`MAX_PARTITIONS_PER_RUN` embeddings in one). Older runs without events stand for the past, and failed runs for attempts
that were repeated. Versions of external assets are those that the sensors report. What differs from a real history:

- Rows are copied in bulk (`event_rows.py`). There are no log lines, and no events of steps, queue and processes: the
  pages of assets and the list of runs do not read them. A failed run has the one event from which sensors read its
  reason. The events of the runs that made the lake have the time at which the last of them ended.
- All materialisations of an asset have the metadata of its first artefact, with their own place and fingerprint. Charts
  and tables in it are filler text of the size that real ones have.
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.events import DagsterEvent, JobFailureData
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from lakes.event_rows import FINGERPRINT, JOB, KEYS, RUN, EventRows, Template, checks, made, markers, planned, reported

from assets.materialise import describe
from cellassets.fingerprint import fingerprint
from cellassets.reconcile.work import MAX_PARTITIONS_PER_RUN, PLATES, map_chain
from cellassets.storage.deployment import Deployment
from cellassets.storage.lake import Published
from resources.partitions import AXES, RANGE_END, RANGE_START, partition_key
from resources.runs import CPU_POOL, GPU_POOL, POOL_TAG, RUN_KEY_TAG
from sensors.attempts import TOKEN_LENGTH, WORK_TAG

BATCH = 500
SENSOR_TAG = "dagster/sensor_name"
PAST = timedelta(hours=1)  # when the lake was finished
MADE_OVER = timedelta(days=100)  # the time over which the runs that made it are spread
LONG_AGO = timedelta(days=200)  # when the oldest run was
FAILED_OVER = timedelta(days=20)  # the time over which the failed runs are spread
PLOT, TABLE = {"plot": 12_000}, {"scores": 600}
FILLED = {"plate_quality": {"thumbnails": 20_000}, "map_clusters": PLOT, "active_perturbations": PLOT}  # bytes
COST = {"pod_s": 120.0, "pod": "8 cores, 32 GiB, 1 GPUs", "cost_usd": 0.02, "cost_usd_per_1000_images": 0.001}


@dataclass(frozen=True)
class Made:
    """What one run made: assets at partitions that share it.

    Attributes:
        sensor: the sensor that asked for it.
        assets: names of the assets.
        partitions: keys by axis of each partition.
    """

    sensor: str
    assets: tuple[str, ...]
    partitions: Sequence[dict[str, str]]

    @property
    def tags(self) -> dict[str, str]:
        """Tags of its run."""
        keys = [partition_key(one) for one in self.partitions]
        tags = {
            RUN_KEY_TAG: fingerprint({"assets": self.assets, "keys": keys}),
            WORK_TAG: ",".join(fingerprint({"of": self.assets, "at": key})[:TOKEN_LENGTH] for key in keys),
            SENSOR_TAG: self.sensor,
            POOL_TAG: GPU_POOL if self.assets == ("site_embeddings",) else CPU_POOL,
            "dagster/priority": "0",
        }
        if len(keys) > 1:
            return tags | {RANGE_START: str(keys[0]), RANGE_END: str(keys[-1])}
        if keys[0] is None:
            return tags
        axes = self.partitions[0]
        return tags | {"dagster/partition": keys[0], **({f"dagster/partition/{k}": v for k, v in axes.items()})}


def runs_of(experiments: Sequence[str], models: Sequence[str], datasets: Sequence[str]) -> Iterator[Made]:
    """Yields what the runs of a lake in which everything is current have made, in the order of the flow."""
    for experiment in experiments:
        yield Made("new_experiments", PLATES, [{"experiment": experiment}])
    for model in models:
        for several in _batches(experiments, MAX_PARTITIONS_PER_RUN):
            keys = [{"experiment": experiment, "model": model} for experiment in several]
            yield Made("new_models", ("site_embeddings",), keys)
    for dataset in datasets:
        for model in models:
            yield Made("stale_scores", map_chain(), [{"dataset": dataset, "model": model}])
    yield Made("stale_scores", ("leaderboard",), [{}])
    for several in _batches(models, MAX_PARTITIONS_PER_RUN):
        yield Made("stale_scores", ("model_report",), [{"model": model} for model in several])


class History:
    """Writes runs and events into an instance on Postgres, which nothing else may use meanwhile.

    Args:
        instance: the instance.
        url: its database.
        deployment: its lake.
        assets: the graph of assets, which names the checks.
    """

    def __init__(self, instance: dg.DagsterInstance, url: str, deployment: Deployment, assets: Any) -> None:
        self.instance, self.deployment = instance, deployment
        self._engine = sa.create_engine(url)
        self._rows = EventRows(self._engine)
        self._records = deployment.lake.records()
        self._at = datetime.now(UTC) - PAST
        self._checks = {
            key.to_user_string(): sorted(check.name for check in assets.get_check_keys_for_assets({key}))
            for key in assets.get_all_asset_keys()
        }
        self._made, self._checks_of = cache(self._template), cache(self._check_templates)
        self.n_runs = self.n_materialisations = 0

    def add_keys(self, keys: dict[str, Sequence[str]]) -> None:
        """Adds partition keys by axis."""
        for axis in AXES:
            self.instance.add_dynamic_partitions(axis, list(keys.get(axis, ())))

    def add(self, work: Iterable[Made]) -> None:
        """Adds runs with all their events."""
        last: dict[str, tuple[int, str]] = {}
        every = list(work)
        for several in _batches(enumerate(every), BATCH):
            runs = [(self._run(one.tags, dg.DagsterRunStatus.SUCCESS, one.assets), one) for _, one in several]
            ended = [self._at - MADE_OVER * (1 - number / len(every)) for number, _ in several]
            self._insert_runs([(run, at) for (run, _), at in zip(runs, ended, strict=True)])
            for run, one in runs:
                for asset in one.assets:
                    last[asset] = self._add_events(asset, run.run_id, one.partitions)
            self._rows.flush()
        self._note_assets(last)

    def add_reported(self, events: Iterable[dg.AssetObservation | dg.AssetMaterialization]) -> int:
        """Returns how many events of external assets were added: those that a sensor's tick reports."""
        last: dict[str, tuple[int, str]] = {}
        n_events = 0
        for event in events:
            last[event.asset_key.to_string()] = self._rows.event(reported(event, self._at), {RUN: ""})
            n_events += 1
        self._rows.flush()
        self._note_assets(last)
        return n_events

    def _note_assets(self, last: dict[str, tuple[int, str]]) -> None:
        """Notes the last event of each asset, by its number and text, where the UI looks for it."""
        storage: Any = self.instance.event_log_storage
        for number, text in last.values():
            with storage.index_transaction() as connection:
                storage._store_asset_event(connection, dg.deserialize_value(text, EventLogEntry), number)  # noqa: SLF001

    def add_old(self, n_runs: int) -> None:
        """Adds runs that succeeded long ago, without events."""
        self._add_plain(n_runs, dg.DagsterRunStatus.SUCCESS, LONG_AGO)

    def add_failed(self, n_runs: int) -> None:
        """Adds runs that failed, each with the event that says why."""
        for run, ended_at in self._add_plain(n_runs, dg.DagsterRunStatus.FAILURE, FAILED_OVER):
            event = DagsterEvent(
                "PIPELINE_FAILURE", JOB, message="its process ended", event_specific_data=JobFailureData(error=None)
            )
            self.instance.event_log_storage.store_event(
                EventLogEntry(
                    error_info=None,
                    level=40,
                    user_message="",
                    run_id=run.run_id,
                    timestamp=ended_at.timestamp(),
                    job_name=JOB,
                    dagster_event=event,
                )
            )

    def _add_plain(
        self, n_runs: int, status: dg.DagsterRunStatus, earliest: timedelta
    ) -> list[tuple[dg.DagsterRun, datetime]]:
        added = []
        for number in range(n_runs):
            one = Made("new_models", ("site_embeddings",), [{"experiment": f"OLD-{number}", "model": "old.v1"}])
            added.append((self._run(one.tags, status, one.assets), self._at - earliest * (1 - number / n_runs)))
        for several in _batches(added, 10 * BATCH):
            self._insert_runs(several)
        return added

    def _run(self, tags: dict[str, str], status: dg.DagsterRunStatus, assets: Sequence[str]) -> dg.DagsterRun:
        selection = frozenset(dg.AssetKey(name.split("/")) for name in assets)
        return dg.DagsterRun(JOB, str(uuid.uuid4()), status=status, tags=tags, asset_selection=selection)

    def _insert_runs(self, runs: Sequence[tuple[dg.DagsterRun, datetime]]) -> None:
        rows, tags = [], []
        for run, ended_at in runs:
            at = ended_at.replace(tzinfo=None)
            rows.append(
                {
                    "run_id": run.run_id, "pipeline_name": run.job_name, "status": run.status.value,
                    "run_body": dg.serialize_value(run), "partition": run.tags.get("dagster/partition"),
                    "create_timestamp": at - timedelta(minutes=2), "update_timestamp": at,
                    "start_time": ended_at.timestamp() - 60, "end_time": ended_at.timestamp(),
                }
            )  # fmt: skip
            tags += [{"run_id": run.run_id, "key": key, "value": value} for key, value in run.tags.items()]
        with self._engine.begin() as connection:
            connection.execute(sa.insert(RunsTable), rows)
            connection.execute(sa.insert(RunTagsTable), tags)
        self.n_runs += len(rows)

    def _add_events(self, asset: str, run_id: str, partitions: Sequence[dict[str, str]]) -> tuple[int, str]:
        """Returns number and text of the last materialisation of an asset in a run, after adding all its events."""
        plan, result = self._made(asset, tuple(partitions[0]))
        for keys in partitions:
            content = self._records.need(asset, *keys.values()).fingerprint
            put = {RUN: run_id, FINGERPRINT: content, **dict(zip(KEYS, keys.values(), strict=False))}
            self._rows.event(plan, put)
            last = self._rows.event(result, put)
        for check, pair in self._checks_of(asset).items():
            self._rows.check(check, pair, put)
        self.n_materialisations += len(partitions)
        return last

    def _check_templates(self, asset: str) -> dict[str, tuple[Template, Template]]:
        return {check: checks(asset, check, self._at) for check in self._checks[asset]}

    def _template(self, asset: str, axes: Sequence[str]) -> tuple[Template, Template]:
        """Returns the events of an asset that plan and make a partition."""
        first = next(one for one in self._records if one.kind == asset)
        lake, keys = self.deployment.lake, tuple(markers(axes).values())
        record = lake.open(first).record.model_copy(
            update={"keys": keys, "fingerprint": FINGERPRINT, "folder": FINGERPRINT}
        )
        shown = describe(Published(lake.artifact(asset, *keys), record), **COST, **_filler(asset))
        return planned(asset, axes, self._at), made(asset, axes, shown, self._at)


def _filler(asset: str) -> dict[str, dg.MarkdownMetadataValue]:
    sizes = PLOT | TABLE if asset.startswith("benchmark/") else FILLED.get(asset, {})
    return {name: dg.MetadataValue.md("x" * n_bytes) for name, n_bytes in sizes.items()}


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    found = iter(items)
    while several := list(islice(found, size)):
        yield several
