"""Turns due work into requests to Dagster: partitions to add or remove, runs, and versions of external assets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg

from cellassets.errors import PartitionKeyError
from cellassets.fingerprint import check_partition_key, fingerprint
from resources.partitions import AXES, RANGE_END, RANGE_START, partition_key
from sensors.in_flight import InFlight, read_in_flight
from sensors.memory import Memory

if TYPE_CHECKING:
    from cellassets.reconcile.work import Waiting, Work

INTERVAL_S = 5
MAX_LISTED = 5
MAX_REQUESTS_PER_TICK = 25  # the daemon creates about one run per second
VERSION_TAG = "dagster/data_version"
SHORT = 8


@dataclass
class Tick:
    """One evaluation of a sensor: what it remembers, which runs are queued or running, and what it will return."""

    context: dg.SensorEvaluationContext
    memory: Memory
    in_flight: InFlight
    requests: list[dg.RunRequest] = field(default_factory=list)
    partitions: list[Any] = field(default_factory=list)
    events: list[dg.AssetObservation | dg.AssetMaterialization] = field(default_factory=list)
    waiting: list["Waiting"] = field(default_factory=list)

    @classmethod
    def begin(cls, context: dg.SensorEvaluationContext) -> "Tick":
        """Returns a tick; call it before the state of the lake is read."""
        return cls(context, Memory.read(context.cursor), read_in_flight(context.instance))

    def ask(self, work: Sequence["Work"], *, job_name: str | None = None, axis: str | None = None) -> int:
        """Returns how many partitions are new: not queued or running, and not asked for before.

        Args:
            work: everything that is due.
            job_name: the job to run, if the sensor has several.
            axis: consecutive partitions on this axis share a run.
        """
        new = [item for item in work if item.run_key not in self.memory.asked and not self.in_flight.covers(item)]
        groups = [[item] for item in new] if axis is None else _runs_of(new, self._order(axis), axis)
        groups = groups[: max(0, MAX_REQUESTS_PER_TICK - len(self.requests))]
        for group in groups:
            self.requests.append(_request(group, job_name))
            self.memory.asked.update(item.run_key for item in group)
        return len(new)

    def forget_done(self, due: Iterable["Work"]) -> None:
        """Forgets work that was asked for and is no longer due. Call it once per tick, with everything that is due."""
        self.memory.asked &= {item.run_key for item in due}

    def set_partitions(self, axis: str, wanted: Iterable[str], *, retired: Iterable[str] = ()) -> None:
        """Adds new keys to an axis and removes keys that no longer exist; an invalid key is logged and left out."""
        known = set(self.context.instance.get_dynamic_partitions(axis))
        new = []
        for key in sorted(set(wanted) - known):
            try:
                new.append(check_partition_key(key, axis))
            except PartitionKeyError as error:
                self.context.log.warning("left out: %s", error)
        gone = sorted(known & set(retired))
        if new:
            self.partitions.append(AXES[axis].build_add_request(new))
        if gone:
            self.context.log.info("retired partitions of %s: %s", axis, ", ".join(gone))
            self.partitions.append(AXES[axis].build_delete_request(gone))

    def report(self, asset: str, versions: Mapping[str, str], metadata: Mapping[str, Mapping[str, Any]]) -> None:
        """Reports new versions of an external asset's partitions, and forgets partitions that no longer exist.

        Args:
            asset: name of the asset.
            versions: fingerprint of each partition; the key of an asset without partitions is empty.
            metadata: metadata to show in the UI, by partition.
        """
        for key, version in versions.items():
            name, partition = f"{asset}/{key}", key or None
            if self.memory.reported.get(name) != version[:SHORT]:
                self.memory.reported[name] = version[:SHORT]
                tags, shown = {VERSION_TAG: version}, dict(metadata.get(key, {}))
                # the observation decides what is unsynced, the materialisation marks the partition as materialised
                self.events.append(dg.AssetObservation(asset, partition=partition, tags=tags, metadata=shown))
                self.events.append(dg.AssetMaterialization(asset, partition=partition, tags=tags, metadata=shown))
        for name in [name for name in self.memory.reported if name.startswith(f"{asset}/")]:
            if name.split("/", 1)[1] not in versions:
                del self.memory.reported[name]

    def answer(self) -> dg.SensorResult:
        """Returns the result of the tick; without run requests it says what the sensor waits for."""
        listed = "; ".join(f"{item.what}: {item.reason}" for item in self.waiting[:MAX_LISTED])
        more = f"; and {len(self.waiting) - MAX_LISTED} more" if len(self.waiting) > MAX_LISTED else ""
        told = f"waiting: {listed}{more}" if self.waiting else "everything is there"
        if self.requests and self.waiting:
            self.context.log.info(told)
        return dg.SensorResult(
            run_requests=self.requests or None,
            skip_reason=None if self.requests else dg.SkipReason(told),
            dynamic_partitions_requests=self.partitions,
            asset_events=self.events,
            cursor=self.memory.text(),
        )

    def _order(self, axis: str) -> dict[str, int]:
        return {key: number for number, key in enumerate(self.context.instance.get_dynamic_partitions(axis))}


def _runs_of(work: Sequence["Work"], order: Mapping[str, int], axis: str) -> list[list["Work"]]:
    """Returns groups of work that differ only in one axis and are consecutive on it."""
    from cellassets.reconcile.work import MAX_PARTITIONS_PER_RUN

    def place(item: "Work") -> tuple[Any, ...]:
        others = tuple(value for name, value in sorted(item.keys.items()) if name != axis)
        return (item.assets, others, order.get(item.keys[axis], -1))

    groups: list[list[Work]] = []
    for item in sorted(work, key=place):
        *same, number = place(item)
        if groups and len(groups[-1]) < MAX_PARTITIONS_PER_RUN:
            *before, last = place(groups[-1][-1])
            if same == before and number == last + 1 and last >= 0:
                groups[-1].append(item)
                continue
        groups.append([item])
    return groups


def _request(group: Sequence["Work"], job_name: str | None) -> dg.RunRequest:
    first, last = group[0], group[-1]
    is_range = len(group) > 1
    tags = {RANGE_START: str(partition_key(first.keys)), RANGE_END: str(partition_key(last.keys))} if is_range else {}
    return dg.RunRequest(
        job_name=job_name,
        run_key=fingerprint({"of": [item.run_key for item in group]}) if is_range else first.run_key,
        partition_key=None if is_range else partition_key(first.keys),
        asset_selection=[dg.AssetKey(name.split("/")) for name in first.assets],
        tags=tags,
    )
