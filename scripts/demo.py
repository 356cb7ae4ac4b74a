"""`make demo`: lands a simulated screen, lets Dagster's daemon process it, and prints the leaderboard.

Nothing here computes a score. The script writes plates into the landing zone, starts the daemon and watches what is
published. While models are trained on the first cell type, it lands a second one; when they are trained, it starts the
backfill of the second. If it is run again, it finds that everything is done.
"""

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import IO

import dagster as dg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from upath import UPath

from cellassets.configuration import load_yaml
from cellassets.judging.leaderboard import leaderboard_table
from cellassets.judging.verdict import gain_in_words
from cellassets.reconcile.live import LiveSnapshot
from cellassets.reconcile.standing import (
    EMBEDDINGS_TITLE,
    LEADERBOARD_TITLE,
    MAPS_TITLE,
    MODELS_TITLE,
    PLATES_TITLE,
    REPORTS_TITLE,
    Standing,
    standing,
)
from cellassets.stages.catalogue import stages
from cellassets.stages.datasets import asked_gate_policy
from cellassets.stages.settings import policy
from cellassets.storage.deployment import Deployment, Home
from cellassets.storage.lake import Lake
from cellassets.synthetic.design import ScreenDesign
from cellassets.synthetic.presets import demo_design
from cellassets.synthetic.screen import write_screen
from cellassets.synthetic.truth import write_truth_and_annotation
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import DIFFERENCES, LEADERBOARD
from resources.partitions import RANGE_END, RANGE_START

REPOSITORY = Path(__file__).parents[1]
DEMO_CONFIGS = REPOSITORY / "configs" / "demo"
POLL_S = 3.0
DAEMON_STOP_S = 20
console = Console()


@dataclass(frozen=True)
class Demo:
    """One demo: its folder, its screen and its settings folder; earlier failed runs are ignored."""

    home: Home
    design: ScreenDesign
    configs: Path
    started: datetime

    @cached_property
    def snapshot(self) -> LiveSnapshot:
        """What is published, kept up to date."""
        return LiveSnapshot(self.deployment, stages())

    @property
    def deployment(self) -> Deployment:
        """Where everything is."""
        return Deployment.of({}, home=self.home.root, configs=self.configs)

    @property
    def lake(self) -> Lake:
        """The lake, which holds the artefacts."""
        return self.deployment.lake

    def standing(self) -> list[Standing]:
        """The progress of every kind of work, as it is now."""
        snapshot = self.snapshot
        snapshot.refresh()
        quiet = timedelta(minutes=policy(snapshot).landing.quiet_minutes)
        snapshot.refresh_landing(snapshot.landing.first_seen, datetime.now(UTC), quiet)
        return standing(snapshot)

    def is_mapped(self, dataset_id: str) -> bool:
        """True if a dataset has a map by at least one model."""
        self.snapshot.refresh()
        return bool(self.snapshot.keys("perturbation_map", dataset_id))

    def enter(self) -> None:
        """Creates the folders and sets the environment that the daemon and its runs inherit.

        The home remembers its settings folder, so that later commands on it take the same settings.
        """
        self.home.dagster_home.mkdir(parents=True, exist_ok=True)
        self.home.landing.mkdir(parents=True, exist_ok=True)
        self.home.remember_configs(self.configs)
        shutil.copy(REPOSITORY / "dagster.yaml", self.home.dagster_home / "dagster.yaml")
        os.environ.update(
            self.deployment.environment(),
            CELLASSETS_UI_URL="http://127.0.0.1:3000",  # where `make ui` serves it
            CELLASSETS_HOME=str(self.home.root),
            DAGSTER_HOME=str(self.home.dagster_home),
            OMP_WAIT_POLICY="PASSIVE",  # threads that wait do not spin: runs share the cores
        )

    def experiments_of(self, cell_type: str) -> list[str]:
        """The simulated experiments of one cell type."""
        return [name for name, its_type in self.design.experiments.items() if its_type == cell_type]


class Bars:
    """The progress bars, each with the partitions that are being made; without a terminal one line per finished kind.

    Bars cannot be drawn into a file or a pipe: rich would print them once, at the end.
    """

    def __init__(self) -> None:
        columns = (TextColumn("{task.description:<30}"), BarColumn(14), MofNCompleteColumn(), TimeElapsedColumn())
        now = TextColumn("[dim]{task.fields[now]}", table_column=Column(no_wrap=True, overflow="ellipsis"))
        self.progress = Progress(*columns, now, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._finished: dict[str, int] = {}
        self._started = time.monotonic()

    def show(self, what: str, n_done: int, n_total: int, *, now: str = "") -> None:
        """Draws one bar; the clock of a full bar stops."""
        if what not in self._tasks:
            self._tasks[what] = self.progress.add_task(what, total=n_total, now="")
        self.progress.update(self._tasks[what], completed=n_done, total=max(n_total, 1), now=now)
        if not console.is_terminal and n_total and n_done >= n_total:
            self._say_finished(what, n_total)

    def _say_finished(self, what: str, n_total: int) -> None:
        """Prints one plain line; again only where more was added, as by a second cell type."""
        if self._finished.get(what, 0) < n_total:
            self._finished[what] = n_total
            minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
            console.print(f"{what}: {n_total} of {n_total}, after {minutes}:{seconds:02}")

    def report(self, n_done: int, n_total: int, what: str) -> None:
        """Draws one bar; this is the library's progress callback."""
        self.show(what, n_done, n_total)


@contextmanager
def alone(home: Home) -> Iterator[None]:
    """Locks the demo's folder until the block ends.

    Raises:
        SystemExit: another demo runs in it.
    """
    with (home.root / "demo.lock").open("w") as lock:
        if not _is_locked(lock):
            sys.exit(f"{home.root}: another demo is running here; wait for it, or name another folder with --home")
        yield


@contextmanager
def daemon(home: Home) -> Iterator[None]:
    """Runs Dagster's daemon until the block ends; first stops a daemon that a killed demo left behind."""
    command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-w", str(REPOSITORY / "workspace.yaml")]
    with (home.root / "daemon.pid").open("a+") as pid_file, (home.root / "daemon.log").open("ab") as log:
        pid_file.seek(0)
        _end(lambda: _is_locked(pid_file), pid_file.read())
        # the daemon inherits the locked file, so the lock exists as long as the daemon
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=REPOSITORY, start_new_session=True, pass_fds=[pid_file.fileno()]
        )
        pid_file.truncate(0)
        pid_file.write(str(process.pid))
    try:
        yield
    finally:
        _end(lambda: process.poll() is not None, str(process.pid))


def _end(is_ended: Callable[[], bool], group: str) -> None:
    """Stops a process group, first gently."""
    for sent, patience_s in ((signal.SIGTERM, DAEMON_STOP_S), (signal.SIGKILL, DAEMON_STOP_S)):
        if is_ended():
            return
        os.killpg(int(group), sent)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and not is_ended():
            time.sleep(0.2)


def _is_locked(file: IO[str]) -> bool:
    """True if this process now has the lock on a file, False if another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def watch(demo: Demo, bars: Bars, instance: dg.DagsterInstance, *, until: Sequence[str] | None = None) -> None:
    """Draws the progress until everything is done, or until the kinds named in `until` are done.

    Raises:
        SystemExit: a run failed for good; its reason is printed.
    """
    while True:
        _stop_at_failure(instance, demo)
        running = _running(instance)
        stands = demo.standing()
        for stand in stands:
            bars.show(stand.what, stand.n_done, stand.n_total, now=running.get(stand.what) or _waiting(stand))
        if all(stand.is_done and stand.n_total for stand in stands if until is None or stand.what in until):
            return
        time.sleep(POLL_S)


# title of a standing -> assets that it waits for
ASSETS = {
    PLATES_TITLE: ("raw_plates", "plate_store", "plate_quality"),
    MODELS_TITLE: ("checkpoint",),
    EMBEDDINGS_TITLE: ("site_embeddings",),
    MAPS_TITLE: ("perturbation_map", "benchmark", "map_clusters", "active_perturbations"),
    LEADERBOARD_TITLE: ("leaderboard",),
    REPORTS_TITLE: ("model_report",),
}


def _waiting(stand: Standing) -> str:
    """Returns what the first partition waits for, as the text beside a bar."""
    if not stand.waiting:
        return ""
    first, *others = stand.waiting
    return f"{first.what} {first.reason}" + (f" and {len(others)} more" if others else "")


def _running(instance: dg.DagsterInstance) -> dict[str, str]:
    """Returns the partitions that are being made now, by the title of the standing."""
    shown: dict[str, list[str]] = {}
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        names = {key.path[0] for key in run.asset_selection or ()}
        for title, assets in ASSETS.items():
            if names & set(assets):
                shown.setdefault(title, []).append(_partition_of(run))
    return {title: ", ".join(partitions) for title, partitions in shown.items()}


def _partition_of(run: dg.DagsterRun) -> str:
    """The partition of a run, or the first and the last one of a run of several."""
    first, last = (run.tags.get(name) for name in (RANGE_START, RANGE_END))
    return f"{first} to {last}" if first else run.tags.get("dagster/partition", "…")


def _stop_at_failure(instance: dg.DagsterInstance, demo: Demo) -> None:
    failures = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], created_after=demo.started)
    for run in instance.get_runs(filters=failures):
        if run.tags.get("dagster/will_retry") != "true":
            events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
            reasons = [event.dagster_event.step_failure_data.error_display_string for event in events]
            what = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
            text = f"run {run.run_id} of {what} failed:\n" + "\n".join(reasons)[:4000]
            sys.exit(f"{text}\nfor details use `make ui`, or read {demo.home.root / 'daemon.log'}")


def land(demo: Demo, bars: Bars, experiment_ids: Sequence[str]) -> None:
    """Writes experiments into the landing zone, as the robots would."""
    write_screen(demo.design, demo.home.landing, experiment_ids=experiment_ids, progress=bars.report)


def run(demo: Demo) -> None:
    """Lands the first cell type, then the others; backfills these when the models are trained."""
    write_truth_and_annotation(demo.design, demo.home.root / "truth", demo.lake.annotations)
    first, *later = [cell_type.name for cell_type in demo.design.cell_types]
    instance = dg.DagsterInstance.get()
    bars = Bars()
    with daemon(demo.home), bars.progress:
        land(demo, bars, demo.experiments_of(first))
        watch(demo, bars, instance, until=[PLATES_TITLE])
        for cell_type in later:
            land(demo, bars, demo.experiments_of(cell_type))
        watch(demo, bars, instance, until=[PLATES_TITLE, MODELS_TITLE])
        for cell_type in later:
            backfill(demo, cell_type, bars)
        watch(demo, bars, instance)


def backfill(demo: Demo, dataset_id: str, bars: Bars) -> None:
    """Starts the backfill of a new cell type that has no map yet, and waits for its first map."""
    if demo.is_mapped(dataset_id):
        return
    command = [sys.executable, str(REPOSITORY / "scripts" / "backfill.py"), dataset_id]
    bars.progress.print(f"[dim]$ python scripts/backfill.py {dataset_id}")
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    bars.progress.print(f"[dim]{answer.stdout.strip()}{answer.stderr.strip()}")
    if answer.returncode:
        sys.exit(answer.returncode)
    while not demo.is_mapped(dataset_id):
        _stop_at_failure(dg.DagsterInstance.get(), demo)
        time.sleep(POLL_S)


def is_complete(demo: Demo) -> bool:
    """True if every experiment landed, every cell type is scored, and nothing is missing or out of date."""
    landed = all((demo.home.landing / name / "_COMPLETE").exists() for name in demo.design.experiments)
    mapped = all(demo.is_mapped(cell_type.name) for cell_type in demo.design.cell_types)
    return landed and mapped and all(stand.is_done for stand in demo.standing())


def show(demo: Demo) -> None:
    """Prints the leaderboard, the paths of the reports and the command that opens the UI."""
    lake, board = demo.lake, demo.lake.current("leaderboard")
    console.print(leaderboard_table(read_table(board.path("leaderboard.parquet"), LEADERBOARD)))
    for sentence in gains(demo):
        console.print(sentence)
    console.print("Reports, one page per model:")
    for model_key in demo.snapshot.keys("model_report"):
        console.print(f"  {lake.current('model_report', model_key).path('report.html')}", soft_wrap=True)
    console.print("Dagster UI on what was just made:  [bold]make ui")


def gains(demo: Demo) -> list[str]:
    """Returns what each trained model gains over the classical features, on wells that neither has seen."""
    published = demo.lake.current("leaderboard")
    differences = read_table(published.path("differences.parquet"), DIFFERENCES)
    kinds = {entry.key: entry.kind for entry in demo.snapshot.models()}
    baseline = next((key for key, kind in kinds.items() if kind == "classical"), None)
    trained = [key for key, kind in kinds.items() if kind == "network"]
    gate = asked_gate_policy(demo.snapshot)
    return [
        gain_in_words(differences, key, baseline, benchmark_name=gate.deciding, dataset_id=dataset_id)
        for dataset_id in gate.deciding_on
        for key in trained
        if baseline is not None
    ]


def main() -> None:
    """Runs the demo, or says that it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=REPOSITORY / "demo", help="folder of the demo (default: demo)")
    parser.add_argument("--configs", type=Path, default=DEMO_CONFIGS, help="recipes, benchmarks, policy")
    parser.add_argument("--design", type=Path, help="YAML of a ScreenDesign (default: the demo's)")
    chosen = parser.parse_args()
    design = demo_design() if chosen.design is None else load_yaml(UPath(chosen.design), ScreenDesign)
    demo = Demo(Home(chosen.home.resolve()), design, chosen.configs.resolve(), datetime.now(UTC))
    demo.enter()
    with alone(demo.home):
        if is_complete(demo):
            console.print("Everything is there already and up to date: nothing to do.")
        else:
            started = time.monotonic()
            run(demo)
            console.print(f"Done in {time.monotonic() - started:.0f} s.")
        show(demo)


if __name__ == "__main__":
    main()
