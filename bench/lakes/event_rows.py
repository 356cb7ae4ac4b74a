"""Writes many Dagster events into Postgres, from one serialised event of each kind.

An event is serialised once per asset with markers in place of run, partition keys and fingerprint; the markers are
replaced for each partition, and rows are copied in bulk. The storage's own way takes about 15 ms per event, which would
be an hour for a large lake.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.definitions.data_version import CODE_VERSION_TAG, DATA_VERSION_TAG
from dagster._core.events import (
    AssetMaterializationPlannedData,
    AssetObservationData,
    DagsterEvent,
    StepMaterializationData,
)
from dagster._core.events.log import EventLogEntry

from resources.partitions import partition_key

JOB = "__ASSET_JOB"
RUN, FINGERPRINT = "RUNmarker", "FINGERPRINTmarker"
KEYS = ("FIRSTmarker", "SECONDmarker")
EVENTS = ("id", "run_id", "event", "dagster_event_type", "timestamp", "step_key", "asset_key", "partition")
TAGS = ("event_id", "asset_key", "key", "value", "event_timestamp")
CHECKS = (
    "asset_key", "check_name", "partition", "run_id", "execution_status", "evaluation_event",
    "evaluation_event_timestamp", "evaluation_event_storage_id",
)  # fmt: skip


@dataclass(frozen=True)
class Template:
    """One event of an asset with markers: its columns, and its tags if it is a materialisation."""

    text: str
    kind: str
    asset: dg.AssetKey
    partition: str | None
    at: datetime
    tags: Mapping[str, str]

    @classmethod
    def of(cls, asset: str, kind: str, data: Any, partition: str | None, at: datetime) -> "Template":
        """Returns the template of an event of an asset."""
        event = DagsterEvent(kind, JOB, step_key=asset.replace("/", "__"), event_specific_data=data)
        entry = EventLogEntry(
            error_info=None, level=20, user_message="", run_id=RUN, timestamp=at.timestamp(), step_key=event.step_key,
            job_name=JOB, dagster_event=event,
        )  # fmt: skip
        told = getattr(data, "materialization", getattr(data, "asset_observation", None))
        tags = told.tags if told is not None else {}
        return cls(dg.serialize_value(entry), kind, dg.AssetKey(asset.split("/")), partition, at, tags)


def markers(axes: Sequence[str]) -> dict[str, str]:
    """Returns the markers of a partition by axis."""
    return dict(zip(axes, KEYS, strict=False))


def planned(asset: str, axes: Sequence[str], at: datetime) -> Template:
    """Returns the event that plans a materialisation."""
    key = partition_key(markers(axes))
    data = AssetMaterializationPlannedData(dg.AssetKey(asset.split("/")), partition=key)
    return Template.of(asset, "ASSET_MATERIALIZATION_PLANNED", data, key, at)


def made(asset: str, axes: Sequence[str], metadata: Mapping[str, Any], at: datetime) -> Template:
    """Returns the event of a materialisation."""
    keys = markers(axes)
    key = dg.MultiPartitionKey(keys) if len(keys) > 1 else partition_key(keys)
    tags = {CODE_VERSION_TAG: "1", DATA_VERSION_TAG: FINGERPRINT}
    if len(keys) > 1:
        tags |= {f"dagster/partition/{axis}": marker for axis, marker in keys.items()}
    made_ = dg.AssetMaterialization(dg.AssetKey(asset.split("/")), partition=key, metadata=metadata, tags=tags)
    return Template.of(asset, "ASSET_MATERIALIZATION", StepMaterializationData(made_), partition_key(keys), at)


def reported(event: dg.AssetObservation | dg.AssetMaterialization, at: datetime) -> Template:
    """Returns the event of an external asset that a sensor reports without a run."""
    is_seen = isinstance(event, dg.AssetObservation)
    data = AssetObservationData(event) if is_seen else StepMaterializationData(event)
    kind = "ASSET_OBSERVATION" if is_seen else "ASSET_MATERIALIZATION"
    return Template.of("/".join(event.asset_key.path), kind, data, event.partition, at)


def checks(asset: str, check: str, at: datetime) -> tuple[Template, Template]:
    """Returns the events that plan a check and give its result; checks have no partitions."""
    place = dg.AssetKey(asset.split("/"))
    plan = AssetCheckEvaluationPlanned(asset_key=place, check_name=check, partitions_subset=None)
    metadata = {"partition": partition_key(dict(zip("ab", KEYS, strict=True)))}
    result = dg.AssetCheckEvaluation(asset_key=place, check_name=check, passed=True, metadata=metadata)
    return (
        Template.of(asset, "ASSET_CHECK_EVALUATION_PLANNED", plan, None, at),
        Template.of(asset, "ASSET_CHECK_EVALUATION", result, None, at),
    )


class EventRows:
    """Rows that are copied into the tables of events, their tags and the results of checks. Nobody else may write.

    Args:
        engine: the database of an instance.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        with engine.connect() as connection:
            self._n_events = connection.scalar(sa.text("SELECT coalesce(max(id), 0) FROM event_logs"))
        self._rows: dict[str, list[Sequence[Any]]] = {
            "event_logs": [],
            "asset_event_tags": [],
            "asset_check_executions": [],
        }

    def event(self, template: Template, put: Mapping[str, str]) -> tuple[int, str]:
        """Returns number and text of an event after adding it with what is put for the markers."""
        self._n_events += 1
        text, partition = _replaced(template.text, put), template.partition and _replaced(template.partition, put)
        asset, at = template.asset.to_string(), template.at.astimezone(UTC).replace(tzinfo=None)
        step = "__".join(template.asset.path)
        row = (self._n_events, put[RUN], text, template.kind, at, step, asset, partition)
        self._rows["event_logs"].append(row)
        self._rows["asset_event_tags"] += [
            (self._n_events, asset, name, _replaced(value, put), at) for name, value in template.tags.items()
        ]
        return self._n_events, text

    def check(self, name: str, pair: tuple[Template, Template], put: Mapping[str, str]) -> None:
        """Adds a check that was planned and has a result, by its two events."""
        asset, at = pair[0].asset.to_string(), pair[0].at.astimezone(UTC).replace(tzinfo=None)
        self.event(pair[0], put)
        number, text = self.event(pair[1], put)
        self._rows["asset_check_executions"].append((asset, name, None, put[RUN], "SUCCEEDED", text, at, number))

    def flush(self) -> None:
        """Copies all rows into the database."""
        connection = self._engine.raw_connection()
        with connection.cursor() as cursor:
            for (table, rows), columns in zip(self._rows.items(), (EVENTS, TAGS, CHECKS), strict=True):
                stream = io.StringIO()
                csv.writer(stream).writerows(rows)
                stream.seek(0)
                options = "FORMAT csv, FORCE_NOT_NULL (run_id)" if "run_id" in columns else "FORMAT csv"
                cursor.copy_expert(f"COPY {table} ({', '.join(columns)}) FROM STDIN WITH ({options})", stream)
                rows.clear()
            cursor.execute("SELECT setval(pg_get_serial_sequence('event_logs', 'id'), %s)", (self._n_events,))
        connection.commit()
        connection.close()


def _replaced(text: str, put: Mapping[str, str]) -> str:
    for marker, value in put.items():
        text = text.replace(marker, value)
    return text
