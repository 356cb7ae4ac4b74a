"""Runs that ended without doing the work that a sensor asked for. Dagster's storage of runs is the only memory of them.

Every run that a sensor asks for names its work in the tag `cellassets/work`. Dagster copies the tag when it, or a
person, starts the run again. All ended runs are read once per process and hour, later only those that changed.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING

import dagster as dg

from cellassets.reconcile.retries import Attempt
from resources.runs import DUPLICATE_TAG, PARENT_TAG, WORK_TAG, work_of
from sensors.reasons import Reason, read_reason

if TYPE_CHECKING:
    from cellassets.reconcile.work import Work

PARDON_TAG = "cellassets/asked_again"
WILL_RETRY_TAG, RETRIED_BY_TAG = "dagster/will_retry", "dagster/auto_retry_run_id"
TOKEN_LENGTH = 12
UNSUCCESSFUL = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
OVERLAP_S = 120.0  # clocks of pods differ; what is read twice changes nothing
READ_ALL_S = 3600.0  # runs that somebody deleted are forgotten then
RESTART_S = 300.0  # Dagster restarts a run within seconds, or not at all


def work_tag(work: Iterable["Work"]) -> dict[str, str]:
    """Returns the tag that names the work of a run. It stays short: Postgres indexes the values of tags."""
    return {WORK_TAG: ",".join(token_of(item) for item in work)}


def token_of(item: "Work") -> str:
    """Returns the name of some work in tags."""
    return item.run_key[:TOKEN_LENGTH]


@dataclass(frozen=True)
class Ended:
    """A run that ended without success."""

    number: int
    run: dg.DagsterRun
    ended_s: float

    @property
    def tokens(self) -> list[str]:
        """Names of the work that it was to do."""
        return work_of(self.run)

    @property
    def is_superseded(self) -> bool:
        """True if Dagster started it again, or if it was cancelled at its start as a duplicate."""
        return RETRIED_BY_TAG in self.run.tags or (DUPLICATE_TAG in self.run.tags and PARENT_TAG not in self.run.tags)

    def attempt(self, now_s: float) -> Attempt:
        """Returns it as an attempt."""
        tags, run_id = self.run.tags, self.run.run_id
        is_restarting = tags.get(WILL_RETRY_TAG) == "true" and abs(now_s - self.ended_s) < RESTART_S
        return Attempt(run_id, self.ended_s, is_restarting, is_pardoned=tags.get(PARDON_TAG) == run_id)


class Attempts:
    """All ended runs without success of one Dagster instance. Call `refresh` before each use."""

    def __init__(self) -> None:
        self._ended: dict[str, Ended] = {}
        self._by_token: dict[str, dict[str, Ended]] = {}
        self._reasons: dict[str, Reason] = {}
        self._read_until_s = self._read_all_s = float("-inf")
        self._lock = Lock()

    def refresh(self, instance: dg.DagsterInstance) -> "Attempts":
        """Returns itself after reading the runs that changed."""
        with self._lock:
            now_s = time.time()
            is_all = not 0 <= now_s - self._read_all_s < READ_ALL_S
            # a clock that was set back gives later changes earlier times
            after_s = min(self._read_until_s, now_s) - OVERLAP_S
            after = None if is_all else datetime.fromtimestamp(after_s, UTC)
            records = instance.get_run_records(dg.RunsFilter(statuses=UNSUCCESSFUL, updated_after=after))
            # other threads read meanwhile, so what they see is replaced and never changed
            ended = {} if is_all else dict(self._ended)
            ended |= {record.dagster_run.run_id: _ended_of(record) for record in records}
            if is_all or records:
                self._ended, self._by_token = ended, _by_token(ended.values())
            self._read_until_s = now_s
            self._read_all_s = now_s if is_all else self._read_all_s
        return self

    def of(self, item: "Work") -> list[Ended]:
        """Returns the ended runs of some work, oldest first, without those that Dagster started again."""
        return self.of_token(token_of(item))

    def of_token(self, token: str) -> list[Ended]:
        """Returns the same for the name of some work."""
        found = self._by_token.get(token, {})
        return sorted((one for one in found.values() if not one.is_superseded), key=lambda one: one.number)

    def all(self) -> Mapping[str, Ended]:
        """Returns all ended runs, by identifier."""
        return self._ended

    def reason(self, instance: dg.DagsterInstance, run_id: str) -> Reason:
        """Returns why a run ended; an ended run does not change, so its events are read once."""
        if run_id not in self._reasons:
            self._reasons[run_id] = read_reason(instance, run_id)
        return self._reasons[run_id]


def _ended_of(record: dg.RunRecord) -> Ended:
    ended_s = record.end_time or record.update_timestamp.timestamp()
    return Ended(record.storage_id, record.dagster_run, ended_s)


def _by_token(ended: Iterable[Ended]) -> dict[str, dict[str, Ended]]:
    found: dict[str, dict[str, Ended]] = {}
    for one in ended:
        for token in one.tokens:
            found.setdefault(token, {})[one.run.run_id] = one
    return found


_attempts: dict[str, Attempts] = {}
_opening = Lock()


def read_attempts(instance: dg.DagsterInstance) -> Attempts:
    """Returns the ended runs of an instance as they are now."""
    storage_id = instance.run_storage.get_run_storage_id()  # type: ignore[attr-defined]  # another one where Dagster's database was lost
    with _opening:
        found = _attempts.setdefault(storage_id, Attempts())
    return found.refresh(instance)
