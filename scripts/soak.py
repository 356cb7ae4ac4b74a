"""`make soak`: hundreds of partitions under random kills; counts what was asked, done, retried, lost and doubled.

Lands many small experiments, starts Dagster's daemon, and then kills processes with SIGKILL at random: a run, or the
daemon together with its code server and all runs, which is started again. When nothing is due any more, every
partition must be published, no plan twice, and no run may be stuck. Ends with status 1 otherwise.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from cellassets.reconcile.live import LiveSnapshot
from cellassets.reconcile.standing import standing
from cellassets.stages.catalogue import stages
from cellassets.stages.settings import policy
from cellassets.storage.deployment import Deployment, Home
from cellassets.storage.ledger import Attempt, Ledger
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen
from resources.runs import UNFINISHED

REPOSITORY = Path(__file__).parents[1]
RECIPES = {"intensity": ["intensity"], "shape": ["sizeshape"]}
ONCE = ("raw_plates", "plate_store", "plate_quality", "checkpoint", "site_embeddings")  # made once from these inputs
POLL_S = 3.0
DAEMON_SHARE = 0.15  # of the kills


def prepare(home: Home, n_experiments: int) -> Deployment:
    """Writes the screen, the settings and Dagster's instance; sets the environment of all processes."""
    half = n_experiments // 2
    cell_types = [
        {"name": "HUVEC", "n_experiments": n_experiments - half},
        {"name": "U2OS", "n_experiments": half},
    ]
    write_screen(tiny_design(cell_types=cell_types, image_size=64), home.landing)
    configs = home.root / "configs"
    (configs / "recipes").mkdir(parents=True)
    for name, families in RECIPES.items():
        recipe = {"kind": "classical", "parameters": {"families": families}}
        (configs / "recipes" / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    for name in ("policy.yaml", "mapping.yaml"):
        (configs / name).write_text("{}\n")
    home.remember_configs(configs)
    instance = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    instance["run_monitoring"]["poll_interval_seconds"] = 10
    home.dagster_home.mkdir(parents=True)
    (home.dagster_home / "dagster.yaml").write_text(yaml.safe_dump(instance))
    deployment = Deployment.of({}, home=home.root)
    os.environ.update(
        deployment.environment(),
        CELLASSETS_HOME=str(home.root),
        DAGSTER_HOME=str(home.dagster_home),
        OMP_NUM_THREADS="1",
        OMP_WAIT_POLICY="PASSIVE",
    )
    return deployment


def start_daemons(home: Home, number: int) -> "list[subprocess.Popen[bytes]]":
    """Returns the processes of some daemons; one is what should be, two are a mistake that must do no harm."""
    return [start_daemon(home) for _ in range(number)]


def start_daemon(home: Home) -> "subprocess.Popen[bytes]":
    """Returns the daemon's process, which leads a process group of its own."""
    with (home.root / "daemon.log").open("ab") as log:
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-w", str(REPOSITORY / "workspace.yaml")],
            cwd=REPOSITORY,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def processes_of(home: Home) -> dict[int, str]:
    """Returns the command lines of all processes that work on this home, by number."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            try:
                if f"CELLASSETS_HOME={home.root}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it ended meanwhile
                continue
    return found


def kill_all(home: Home) -> None:
    """Kills every process that works on this home."""
    for number in processes_of(home):
        kill(number)


def kill(number: int) -> None:
    """Kills one process, if it is still there."""
    try:
        os.kill(number, signal.SIGKILL)
    except ProcessLookupError:
        return


def runs_of(home: Home, instance: dg.DagsterInstance) -> list[int]:
    """Returns the numbers of the processes that execute runs."""
    started = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    events = dg.DagsterEventType.RUN_START
    found = []
    for record in started:
        logs = instance.get_records_for_run(record.dagster_run.run_id, of_type=events, limit=1).records
        found += [log.event_log_entry.dagster_event.pid for log in logs if log.event_log_entry.dagster_event]
    return [number for number in found if number in processes_of(home)]


def n_due(snapshot: LiveSnapshot) -> int:
    """Returns how many partitions are not as they should be."""
    snapshot.refresh()
    quiet = timedelta(minutes=policy(snapshot).landing.quiet_minutes)
    snapshot.refresh_landing(snapshot.landing.first_seen, datetime.now(UTC), quiet)
    return sum(row.n_total - row.n_done for row in standing(snapshot))


def disturb(
    home: Home, deployment: Deployment, *, n_daemons: int, every_runs: float, give_up_s: float, seed: int
) -> Counter[str]:
    """Returns the numbers of kills, after everything is done or the time is over.

    The next kill comes after some successful runs, so that a slow machine gets as far as a fast one.
    """
    choose, kills = random.Random(seed), Counter[str]()  # noqa: S311
    snapshot = LiveSnapshot(deployment, stages())
    end, next_kill = time.monotonic() + give_up_s, 1.0
    with dg.DagsterInstance.get() as instance:
        instance.get_runs_count()  # makes the databases, which two processes cannot do at once
        daemons = start_daemons(home, n_daemons)
        while time.monotonic() < end:
            time.sleep(POLL_S)
            ended = [daemon.returncode for daemon in daemons if daemon.poll() is not None]
            if ended:
                sys.exit(f"a daemon ended by itself with {ended[0]}; see {home.root / 'daemon.log'}")
            due, unfinished = n_due(snapshot), instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED))
            n_ended = instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]))
            print(f"{due} due, {unfinished} runs unfinished, {n_ended} done, kills {dict(kills)}", flush=True)
            if not due and not unfinished:
                break
            running = runs_of(home, instance)
            if n_ended < next_kill or not running:
                continue
            next_kill = n_ended + choose.uniform(0.5, 1.5) * every_runs
            if choose.random() < DAEMON_SHARE:
                kill_all(home)
                for daemon in daemons:
                    daemon.wait()
                daemons = start_daemons(home, n_daemons)
                kills["daemon with all runs"] += 1
            else:
                kill(choose.choice(running))
                kills["run"] += 1
    return kills


def counts(deployment: Deployment) -> dict[str, Any]:
    """Returns what was asked, done, retried, lost and doubled."""
    snapshot = LiveSnapshot(deployment, stages())
    lost = n_due(snapshot)
    asked = sum(row.n_total for row in standing(snapshot))
    published = [json.loads(path.read_text()) for path in (deployment.lake.root / "records").rglob("*.json")]
    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs()
        stuck = instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED))
    return {
        "partitions_asked": asked,
        "partitions_done": asked - lost,
        "publications": len(published),
        "runs": len(runs),
        "runs_retried": sum(run.parent_run_id is not None for run in runs),
        "lost": lost,
        "doubled": n_doubled(published, Ledger(deployment.lake.catalogue.url).attempts()),
        "stuck": stuck,
    }


def n_doubled(published: Sequence[Mapping[str, Any]], attempts: Sequence[Attempt]) -> int:
    """Returns how many partitions were made that were there, or whose making had ended before in another run.

    Maps and scores are made again when an experiment lands; each of their publications must come from another plan, and
    from one attempt. Everything else is made once.

    Args:
        published: the content of all commit records.
        attempts: all attempts of the ledger.
    """
    plans = Counter((record["kind"], *record["keys"], record["plan_fingerprint"]) for record in published)
    n_published = Counter((record["kind"], *record["keys"]) for record in published)
    keys = ("experiment", "dataset", "model", "recipe")
    made = Counter(
        (row.asset, *(key for name in keys if (key := getattr(row, name)) is not None))
        for row in attempts
        if row.outcome == "made"
    )
    return (
        sum(number - 1 for number in plans.values())
        + sum(number - 1 for (kind, *_), number in n_published.items() if kind in ONCE)
        + sum(max(0, number - n_published[address]) for address, number in made.items())
    )


def main() -> None:
    """Runs the test and prints the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=90)
    parser.add_argument("--daemons", type=int, default=1)
    parser.add_argument("--every-runs", type=float, default=3.0, help="mean number of successful runs between kills")
    parser.add_argument("--give-up-s", type=float, default=3600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    chosen = parser.parse_args()
    home = Home(Path(tempfile.mkdtemp(prefix="soak-")))
    try:
        deployment = prepare(home, chosen.experiments)
        kills = disturb(
            home,
            deployment,
            n_daemons=chosen.daemons,
            every_runs=chosen.every_runs,
            give_up_s=chosen.give_up_s,
            seed=chosen.seed,
        )
        result = {**counts(deployment), "kills": dict(kills)}
        print(json.dumps(result, indent=1))
    finally:
        kill_all(home)
        if chosen.keep:
            print(f"kept: {home.root}")
        else:
            shutil.rmtree(home.root)
    sys.exit(1 if result["lost"] or result["doubled"] or result["stuck"] else 0)


if __name__ == "__main__":
    main()
