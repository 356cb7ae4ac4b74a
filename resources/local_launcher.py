"""Launches runs as processes on this machine, and finds the ones whose process is gone.

Dagster's own launcher cannot tell: after a power cut, or `kill -9` of the daemon with its runs, such runs stay started
for ever and keep their places in the queue. The daemon's monitoring asks this launcher (`run_monitoring` in
`dagster.yaml`), marks them as failed, and starts them again.

A process number alone does not identify a process, since numbers are used again. So the launcher notes the machine, its
boot and the time since the boot, none of which depends on the clock.

Two daemons can take one run off the queue at the same time. The note is also a claim: the second daemon finds it, and
leaves the run to the first.
"""

import fcntl
import logging
import os
import socket
from pathlib import Path

import dagster as dg
from dagster import DefaultRunLauncher
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus

from resources.starting import WatchesStarts

logger = logging.getLogger(__name__)

LAUNCHED_TAG = "cellassets/launched_on"
SERVER_TAG = ".dagster/grpc_info"
LOCAL_SERVERS = ('"socket"', '"localhost"', '"127.0.0.1"')
START_S = 300.0  # a run's process exists this long after its launch at the latest
BOOT, UPTIME = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/uptime")


class LocalRunLauncher(DefaultRunLauncher, WatchesStarts):
    """Dagster's default launcher that also knows whether the process of a run is alive."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Starts the process of a run, unless another daemon has claimed it."""
        run_id = context.dagster_run.run_id
        if self._claims(run_id):
            super().launch_run(context)
        else:
            logger.info("run %s has been started by another daemon", run_id)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True: the daemon may ask for the state of a run's process."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Returns whether the process of a run is alive; a run on another machine counts as alive."""
        launched = launched_on(run)
        pid = self._process_number(run.run_id)
        if pid is None or launched is None or not any(name in run.tags.get(SERVER_TAG, "") for name in LOCAL_SERVERS):
            return CheckRunHealthResult(WorkerStatus.RUNNING, "its process cannot be looked up from here")
        launched_s, place = launched
        host, _, boot = place.partition(" ")
        if host != socket.gethostname():
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"it was started on {host}")
        if place != here():
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "this machine was started again since")
        if not is_alive(pid, started_before_s=launched_s + START_S if boot else None):
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"its process {pid} is gone")
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def check_start(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Returns the state of the process of a run that has not started yet."""
        launched = launched_on(run)
        if launched is not None and launched[1].split()[0] != socket.gethostname():
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        if self._process_number(run.run_id) is None:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "No process was made for the run.")
        health = self.check_run_worker_health(run)
        if health.status == WorkerStatus.RUNNING:
            return health
        return CheckRunHealthResult(WorkerStatus.FAILED, f"The run was killed before it started: {health.msg}.")

    def _claims(self, run_id: str) -> bool:
        """Returns true for the first daemon that starts a run. A retry carries the note of the run that it repeats."""
        with (Path(self._instance.root_directory) / "launches.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            run = self._instance.get_run_by_id(run_id)
            if run is not None and launched_on(run) is not None:
                return False
            self._instance.add_run_tags(run_id, {LAUNCHED_TAG: f"{run_id} {uptime_s():.0f} {here()}"})
            return True

    def _process_number(self, run_id: str) -> int | None:
        """Returns the number of a run's process, which notes it in its first event."""
        records = self._instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records
        events = [record.event_log_entry.get_dagster_event() for record in records]
        noted = [
            event.engine_event_data.metadata["pid"] for event in events if "pid" in event.engine_event_data.metadata
        ]
        return int(str(noted[0].value)) if noted else None


def launched_on(run: dg.DagsterRun) -> tuple[float, str] | None:
    """Returns when and where a run was launched, in seconds since the boot; None if it was not."""
    run_id, _, launched = run.tags.get(LAUNCHED_TAG, "").partition(" ")
    if run_id != run.run_id:
        return None
    since_s, _, place = launched.partition(" ")
    return float(since_s), place


def here() -> str:
    """Returns this machine and its present boot; without Linux' `/proc` only the machine."""
    return f"{socket.gethostname()} {BOOT.read_text().strip() if BOOT.exists() else ''}".strip()


def uptime_s() -> float:
    """Returns the seconds since the boot; 0 without Linux' `/proc`."""
    return float(UPTIME.read_text().split()[0]) if UPTIME.exists() else 0.0


def is_alive(pid: int, *, started_before_s: float | None = None) -> bool:
    """Returns true if a process exists, has not ended, and is not a younger one with the same number.

    Args:
        pid: number of the process.
        started_before_s: seconds since the boot; None where the start of a process cannot be read.
    """
    if started_before_s is None:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    state, started_s = fields[0], int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return state not in ("Z", "X") and started_s <= started_before_s
