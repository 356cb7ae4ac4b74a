"""Turns due work into requests to Dagster: partitions to add or remove, runs, and versions of external assets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg

from cellassets.errors import PartitionKeyError
from cellassets.fingerprint import check_partition_key, fingerprint
from cellassets.reconcile.work import MAX_PARTITIONS_PER_RUN, Waiting
from cellassets.storage.artifact import describe_address
from resources.partitions import AXES, RANGE_END, RANGE_START, partition_key
from resources.runs import ENDED, MEMORY_TAG, RUN_KEY_TAG
from sensors.attempts import work_tag
from sensors.in_flight import InFlight, read_in_flight
from sensors.memory import Memory
from sensors.outlook import Outlook
from sensors.reported import SHORT, VERSION_TAG, reported

if TYPE_CHECKING:
    from cellassets.reconcile.work import Work

INTERVAL_S = 5
MAX_LISTED = 5
MAX_REQUESTS_PER_TICK = 25  # the daemon creates about one run per second
MAX_REPORTED_PER_TICK = 100  # the daemon writes two events each before it starts runs; a new database lacks thousands
MAX_ATTEMPTS_SHARED = 2  # work that failed this often gets a run of its own: another partition may be the cause


@dataclass
class Tick:
    """One evaluation of a sensor: what it remembers, which runs are queued or running, and what it will return."""

    context: dg.SensorEvaluationContext
    memory: Memory
    in_flight: InFlight
    outlook: Outlook
    requests: list[dg.RunRequest] = field(default_factory=list)
    partitions: list[Any] = field(default_factory=list)
    events: list[dg.AssetObservation | dg.AssetMaterialization] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    _keys: dict[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def begin(cls, context: dg.SensorEvaluationContext) -> "Tick":
        """Returns a tick; call it before the state of the lake is read."""
        memory = Memory.read(context.cursor)
        reported(context.instance).confirm(context.instance, memory.reported)
        memory.reported = {}
        in_flight = read_in_flight(context.instance)  # first: a run that ends meanwhile is then seen in one of both
        return cls(context, memory, in_flight, Outlook.of(context.instance))

    def ask(self, work: Sequence["Work"], *, job_name: str | None = None, axis: str | None = None) -> int:
        """Returns how many partitions can be asked for now; each is asked for in this tick or in one of the next.

        Work is left out while it is queued, running, or waiting for its next attempt, and if it was refused or has
        failed for good. The tick says so, and says which partition keys are missing in Dagster.

        Args:
            work: everything that is due.
            job_name: the job to run, if the sensor has several.
            axis: consecutive partitions on this axis share a run.
        """
        ready = [item for item in work if self._is_ready(item)]
        groups = [[item] for item in ready] if axis is None else self._runs_of(ready, axis)
        groups.sort(key=lambda group: len(self.outlook.attempts.of(group[0])))  # what never failed goes first
        for group in groups:
            if len(self.requests) >= MAX_REQUESTS_PER_TICK:
                break
            run_key = self._free_run_key(group)
            if run_key is not None:
                self.requests.append(_request(group, job_name, run_key, self._memory_tag(group)))
        return len(ready)

    def is_ready(self, item: "Work") -> bool:
        """True if due work is neither under way nor waiting for its next attempt, and has not failed for good."""
        return not self.in_flight.covers(item) and self.outlook.verdict(item).outcome == "ready"

    def is_open(self, item: "Work") -> bool:
        """True if due work will still be done without a person: it was not refused and has not failed for good."""
        return not self.outlook.verdict(item).is_final

    def _is_ready(self, item: "Work") -> bool:
        if self.in_flight.covers(item):
            return False
        missing = [f"{axis} {key}" for axis, key in item.keys.items() if key not in self._known(axis)]
        if missing:
            self._say(item, f"waits for the partition key of {' and '.join(missing)} in Dagster; its sensor adds it")
            return False
        found = self.outlook.verdict(item)
        if found.outcome == "ready":
            return True
        self._say(item, self.outlook.in_words(item, found))
        return False

    def _memory_tag(self, group: Sequence["Work"]) -> dict[str, str]:
        """Returns the memory that the last attempt was to have, if an earlier one was killed for its memory."""
        ended = self.outlook.attempts.of(group[0])
        return {MEMORY_TAG: ended[-1].run.tags[MEMORY_TAG]} if ended and MEMORY_TAG in ended[-1].run.tags else {}

    def _say(self, item: "Work", reason: str) -> None:
        self.waiting.append(Waiting(describe_address(item.assets[0], tuple(item.keys.values())), reason))

    def _known(self, axis: str) -> frozenset[str]:
        """Returns the keys that an axis has when this tick's runs are created."""
        if axis not in self._keys:
            self._keys[axis] = frozenset(self.context.instance.get_dynamic_partitions(axis))
        return self._keys[axis]

    def _free_run_key(self, group: Sequence["Work"]) -> str | None:
        """Returns the run key of the next attempt; two ticks or daemons with the same runs before them find the same.

        An earlier run with the key succeeded where its publication was removed later, or is one of several failed ones
        of which somebody deleted another: then the number is raised.
        None if all numbers are used up.
        """
        numbers = [len(self.outlook.attempts.of(item)) for item in group]
        for step in range(self.outlook.retries.max_attempts):
            keys = [
                item.run_key + (f"-{n + step + 1}" if n + step else "") for item, n in zip(group, numbers, strict=True)
            ]
            run_key = keys[0] if len(keys) == 1 else fingerprint({"of": keys})
            if not self.context.instance.get_run_records(
                dg.RunsFilter(tags={RUN_KEY_TAG: run_key}, statuses=ENDED), limit=1
            ):
                return run_key
        for item in group:
            self._say(item, f"its runs succeed and leave it undone ({self.outlook.retries.max_attempts} of them)")
        return None

    def set_partitions(self, axis: str, wanted: Iterable[str], *, kept: Iterable[str] | None = None) -> None:
        """Adds new keys to an axis and removes keys that no longer exist; an invalid key is logged and left out.

        Args:
            axis: name of the axis.
            wanted: keys that it must have.
            kept: further keys that stay if they are there; None: no key is removed.
        """
        known, wanted = self._known(axis), set(wanted)
        new: list[str] = []
        for key in sorted(wanted - known):
            try:
                new.append(check_partition_key(key, axis))
            except PartitionKeyError as error:
                self.context.log.warning("left out: %s", error)
        gone = sorted(known - wanted - set(kept)) if kept is not None else []
        if new:
            self.partitions.append(AXES[axis].build_add_request(new))
        if gone:
            self.context.log.info("retired partitions of %s: %s", axis, ", ".join(gone))
            self.partitions.append(AXES[axis].build_delete_request(gone))
        self._keys[axis] = known.union(new).difference(gone)

    def report(self, asset: str, versions: Mapping[str, str], metadata: Mapping[str, Mapping[str, Any]]) -> None:
        """Reports new versions of an external asset's partitions: some now, the others in the next ticks.

        Args:
            asset: name of the asset.
            versions: fingerprint of each partition; the key of an asset without partitions is empty.
            metadata: metadata to show in the UI, by partition.
        """
        known = reported(self.context.instance).of(self.context.instance, asset)
        new = [key for key, version in versions.items() if known.get(key) != version[:SHORT]]
        for key in new[: max(0, MAX_REPORTED_PER_TICK - len(self.memory.reported))]:
            version = versions[key]
            self.memory.reported[f"{asset}/{key}"] = version[:SHORT]
            partition, tags, shown = key or None, {VERSION_TAG: version}, dict(metadata.get(key, {}))
            # the observation decides what is unsynced, the materialisation marks the partition as materialised
            self.events.append(dg.AssetObservation(asset, partition=partition, tags=tags, metadata=shown))
            self.events.append(dg.AssetMaterialization(asset, partition=partition, tags=tags, metadata=shown))

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

    def _runs_of(self, work: Sequence["Work"], axis: str) -> list[list["Work"]]:
        """Returns groups of work that differ only in one axis and are consecutive on it."""
        order = {key: number for number, key in enumerate(self.context.instance.get_dynamic_partitions(axis))}
        n_failed = {item.run_key: len(self.outlook.attempts.of(item)) for item in work}
        shared = [item for item in work if n_failed[item.run_key] < MAX_ATTEMPTS_SHARED]
        alone = [[item] for item in work if n_failed[item.run_key] >= MAX_ATTEMPTS_SHARED]
        return [*_consecutive(shared, order, axis), *alone]


def _consecutive(work: Sequence["Work"], order: Mapping[str, int], axis: str) -> list[list["Work"]]:
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


def _request(group: Sequence["Work"], job_name: str | None, run_key: str, more: Mapping[str, str]) -> dg.RunRequest:
    first, last = group[0], group[-1]
    is_range = len(group) > 1
    tags = {RANGE_START: str(partition_key(first.keys)), RANGE_END: str(partition_key(last.keys))} if is_range else {}
    return dg.RunRequest(
        job_name=job_name,
        run_key=run_key,
        partition_key=None if is_range else partition_key(first.keys),
        asset_selection=[dg.AssetKey(name.split("/")) for name in first.assets],
        tags={**tags, **first.tags, **work_tag(group), **more},
    )
