"""Finds the runs that were killed while they were being started.

Dagster's monitoring looks at the process or pod of a run once the run has started, and waits for the start timeout
before that: an hour in a cluster, where a pod may wait for its node. Here the daemon looks at such runs itself.
"""

import logging
import threading
import time
from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, RunLauncher, WorkerStatus

logger = logging.getLogger(__name__)

LOOK_S = 15.0  # between two looks
MISSING_S = 60.0  # a run has its process or its job this long after its start began, at the latest
AFTER_STARTING = {
    dg.DagsterEventType.RUN_START,
    dg.DagsterEventType.RUN_CANCELING,
    dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_CANCELED,
}


class WatchesStarts(RunLauncher):
    """A launcher that marks the runs as failed that will never start."""

    _watch: threading.Thread | None = None
    _missing_since: Mapping[str, float] = MappingProxyType({})

    @abstractmethod
    def check_start(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Returns the state of the process or pod of a run that has not started yet.

        `NOT_FOUND` means that there is none yet, and `FAILED` that it has ended.
        """

    def start_watch(self) -> None:
        """Starts the thread that looks at such runs from now on; the daemon calls this when it starts."""
        if self._watch is None:
            self._watch = threading.Thread(target=self._keep_watch, name="runs that never start", daemon=True)
            self._watch.start()

    def fail_unstarted(self) -> None:
        """Marks runs as failed whose process or pod has ended before they started, or was never made."""
        missing: dict[str, float] = {}
        for run in self._instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])):
            if self._restored(run):
                continue
            health = self.check_start(run)
            if health.status == WorkerStatus.NOT_FOUND:
                missing[run.run_id] = self._missing_since.get(run.run_id, time.monotonic())
                if time.monotonic() - missing[run.run_id] < MISSING_S:
                    continue
            elif health.status != WorkerStatus.FAILED:
                continue
            now = self._instance.get_run_by_id(run.run_id)
            if now is not None and now.status == dg.DagsterRunStatus.STARTING:  # it has not started after all
                self._instance.report_run_failed(run, health.msg)
        self._missing_since = missing

    def _restored(self, run: dg.DagsterRun) -> bool:
        """Returns true if a run was not starting, after giving it the status that its events say.

        A daemon that pauses while it takes a run off the queue may find afterwards that another one has started it.
        """
        seen = None
        while True:
            records = self._instance.get_records_for_run(run.run_id, of_type=AFTER_STARTING, limit=1, ascending=False)
            if not records.records or records.records[0].storage_id == seen:
                return seen is not None
            seen, entry = records.records[0].storage_id, records.records[0].event_log_entry
            self._instance.run_storage.handle_run_event(run.run_id, entry.get_dagster_event())

    def _keep_watch(self) -> None:
        while True:
            time.sleep(LOOK_S)
            try:
                self.fail_unstarted()
            except Exception:  # the next look may succeed; without it nobody looks any more
                logger.exception("could not look for runs that never start")
