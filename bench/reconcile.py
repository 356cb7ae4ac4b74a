"""What a tick of each sensor costs over a lake in which everything is current, by default with 80,000 embedding tables.

The lake has 2,000 experiments of four cell types, 40 active models of four training sets, 20 datasets (the cell types
and 16 YAML files) and the scores of all benchmarks: about 105,000 commit records, made by the plans of the stages
(`bench/lakes/current.py`). It is built on disk, with its catalogue in SQLite and then in Postgres.

For each sensor: the first tick after a start, in a process of its own (goal: under 30 s); then, in one process for all
sensors, an idle tick (1 s), a tick after one new experiment was stored, after it was embedded by all models, and after
a new model was registered (5 s each). Peak memory of that process should be under 1 GiB. Files that are opened and
folders that are listed below the lake are counted, and rows of the catalogue that are read. Prints a table and writes
bench/results/reconcile.json.

    python bench/reconcile.py                 everything; --scale 0.05 for a twentieth of the experiments
    python bench/reconcile.py --postgres URL  an empty database, in place of a private server that is started
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lakes.current import N_TRAINED, Size, build, land, publish, record_path, register
from live.services import databases

from cellassets.reconcile.live import LiveSnapshot
from cellassets.reconcile.standing import leaderboard_agenda, plate_agenda, recipe_agenda, report_agenda, standing
from cellassets.reconcile.wanted import active_datasets
from cellassets.reconcile.work import PLATES, Agenda, embedding_agenda, map_agenda, map_chain
from cellassets.stages.catalogue import stages
from cellassets.stages.settings import policy
from cellassets.storage.deployment import Deployment

RESULT = Path(__file__).parent / "results" / "reconcile.json"
FULL = Size(n_experiments=2_000, n_models=40)
NEW_EXPERIMENT, NEW_MODEL = "HUVEC-NEW", "model_new"
LIMIT_S = {"first": 30.0, "idle": 1.0, "experiment": 5.0, "embedded": 5.0, "model": 5.0}
N_IDLE = 3

reads: Counter[str] = Counter()


def count_reads(lake: str) -> None:
    """Counts, from now on, files opened and folders listed below the lake (SQLite opens its own file unseen)."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.scandir", "os.listdir") and str(arguments[0]).startswith(lake):
            reads["files" if event == "open" else "folders"] += 1

    sys.addaudithook(hook)


def take_landing(snapshot: LiveSnapshot) -> None:
    """Looks at the landing zone, as the sensor `new_experiments` does."""
    from datetime import timedelta

    quiet = timedelta(minutes=policy(snapshot).landing.quiet_minutes)
    snapshot.refresh_landing(snapshot.landing.first_seen, datetime.now(UTC), quiet)


def new_experiments(snapshot: LiveSnapshot) -> list[Agenda]:
    """Landing zone and plates; the datasets of new cell types."""
    take_landing(snapshot)
    active_datasets(snapshot)
    return [plate_agenda(snapshot)]


def all_of(snapshot: LiveSnapshot) -> list[Agenda]:
    """What status pages show."""
    take_landing(snapshot)
    return [Agenda([], part.waiting, part.n_done, part.n_total) for part in standing(snapshot)]


SENSORS: dict[str, Callable[[LiveSnapshot], list[Agenda]]] = {
    "new_experiments": new_experiments,
    "new_recipes": lambda snapshot: [recipe_agenda(snapshot)],
    "new_models": lambda snapshot: [embedding_agenda(snapshot)],
    "stale_scores": lambda snapshot: [map_agenda(snapshot), leaderboard_agenda(snapshot), report_agenda(snapshot)],
    "standing": all_of,
}


def tick(snapshot: LiveSnapshot, sensor: str) -> dict[str, Any]:
    """Returns what one tick of a sensor took, read and asked for."""
    before, n_rows, n_nodes = Counter(reads), snapshot.records.n_rows_read, snapshot.graph.n_computed
    started = time.perf_counter()
    with snapshot.lock:
        snapshot.refresh()
        refreshed = time.perf_counter()
        agendas = SENSORS[sensor](snapshot)
    return {
        "seconds": round(time.perf_counter() - started, 3),
        "refresh_s": round(refreshed - started, 3),
        "files_opened": reads["files"] - before["files"],
        "folders_listed": reads["folders"] - before["folders"],
        "rows_read": snapshot.records.n_rows_read - n_rows,
        "n_computed": snapshot.graph.n_computed - n_nodes,
        "n_due": sum(len(agenda.work) for agenda in agendas),
        "n_waiting": sum(len(agenda.waiting) for agenda in agendas),
        "n_missing": sum(agenda.n_total - agenda.n_current for agenda in agendas),
    }


def peak_mib() -> float:
    """Returns the most memory that this process has had, in MiB (`ru_maxrss` would count its parent's)."""
    status = Path("/proc/self/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)


def refresh_parts(snapshot: LiveSnapshot) -> dict[str, float]:
    """Returns the seconds that the parts of `refresh` take where nothing has changed."""
    parts = {
        "catalogue": snapshot._changed_records,  # noqa: SLF001
        "settings": lambda: snapshot._changed_files(("configs",), snapshot.deployment.configs, "**/*.yaml"),  # noqa: SLF001
        "annotations": snapshot._changed_annotations,  # noqa: SLF001
        "registry": snapshot._changed_models,  # noqa: SLF001
    }
    took = {}
    for name, part in parts.items():
        started = time.perf_counter()
        part()
        took[name] = round(time.perf_counter() - started, 4)
    return took


def measure_first(deployment: Deployment, sensor: str) -> dict[str, Any]:
    """Returns the first tick of a sensor in this process."""
    return {**tick(LiveSnapshot(deployment, stages()), sensor), "peak_mib": peak_mib()}


def measure_changes(deployment: Deployment) -> dict[str, Any]:
    """Returns the ticks of all sensors in one process: idle, and after changes, which are taken back at the end."""
    snapshot = LiveSnapshot(deployment, stages())
    for sensor in SENSORS:
        tick(snapshot, sensor)
    found: dict[str, Any] = {"idle": {}}
    for sensor in SENSORS:
        ticks = [tick(snapshot, sensor) for _ in range(N_IDLE)]
        found["idle"][sensor] = max(ticks, key=lambda one: one["seconds"])
    found["refresh_parts_s"] = refresh_parts(snapshot)
    models = [entry.key for entry in snapshot.models()]
    embeddings = [("site_embeddings", (NEW_EXPERIMENT, model)) for model in models]
    try:
        land(deployment, NEW_EXPERIMENT)
        for kind in PLATES:
            publish(deployment, kind, [(NEW_EXPERIMENT,)])
        found["experiment"] = {sensor: tick(snapshot, sensor) for sensor in SENSORS}
        publish(deployment, "site_embeddings", [keys for _, keys in embeddings])
        found["embedded"] = {sensor: tick(snapshot, sensor) for sensor in SENSORS}
        register(deployment, NEW_MODEL, Size(N_TRAINED, 1).experiments)
        found["model"] = {sensor: tick(snapshot, sensor) for sensor in SENSORS}
    finally:
        take_back(deployment, [*((kind, (NEW_EXPERIMENT,)) for kind in PLATES), *embeddings])
    return {**found, "peak_mib": peak_mib()}


def take_back(deployment: Deployment, addresses: list[tuple[str, tuple[str, ...]]]) -> None:
    """Removes the new experiment and the new model."""
    from cellassets.registry import Registry

    client = Registry(deployment.tracking_uri, deployment.model_root).client()
    client.delete_registered_model(NEW_MODEL)
    shutil.rmtree(Path(deployment.landing_root) / NEW_EXPERIMENT)
    for kind, keys in addresses:
        record_path(deployment, kind, keys).unlink()
    deployment.lake.scan()


def in_process(arguments: list[str], catalogue: str) -> dict[str, Any]:
    """Returns what this script prints with `--measure` in a process of its own."""
    command, environment = [sys.executable, __file__, *arguments], {**os.environ, "CELLASSETS_CATALOGUE": catalogue}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def measure(home: Path, url: str) -> dict[str, Any]:
    """Returns all ticks over one lake with its catalogue at a URL."""
    place = ["--home", str(home)]
    deployment = deployment_at(home, url)
    started = time.perf_counter()
    scan = deployment.lake.scan()
    result = {"scan_s": round(time.perf_counter() - started, 1), "n_records": scan.n_found, "n_noted": scan.n_noted}
    result["first"] = {sensor: in_process([*place, "--measure", sensor], url) for sensor in SENSORS}
    return {**result, **in_process([*place, "--measure", "changes"], url)}


def deployment_at(home: Path, url: str) -> Deployment:
    """Returns the deployment in a folder, with its catalogue at a URL (empty: beside the lake)."""
    return replace(Deployment.of({}, home=home, configs=home / "configs"), catalogue_url=url)


@contextmanager
def postgres(url: str) -> Iterator[str]:
    """Yields the URL of a Postgres database: the given one, or that of a private server, as the tests start it."""
    if url:
        yield url
        return
    with databases("catalogue") as (own,):
        yield own


def table(result: dict[str, Any]) -> str:
    """Returns the ticks as a table for people, with the goals."""
    lines = [
        f"{'catalogue':10}{'tick':12}{'sensor':17}{'s':>8}{'goal':>6}{'files':>7}{'rows':>8}{'nodes':>9}{'due':>6}"
    ]
    for catalogue in ("sqlite", "postgres"):
        for kind, limit in LIMIT_S.items():
            for sensor, one in result[catalogue][kind].items():
                mark = "" if one["seconds"] < limit else "  missed"
                lines.append(
                    f"{catalogue:10}{kind:12}{sensor:17}{one['seconds']:8.2f}{limit:6.0f}"
                    f"{one['files_opened'] + one['folders_listed']:7}{one['rows_read']:8}{one['n_computed']:9}"
                    f"{one['n_due']:6}{mark}"
                )
        lines.append(f"{catalogue:10}peak memory {result[catalogue]['peak_mib']:.0f} MiB, goal 1024")
    return "\n".join(lines)


def main() -> None:
    """Builds the lake, measures with both catalogues, prints and keeps the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the 2,000 experiments and 40 models")
    parser.add_argument("--postgres", default="", help="URL of an empty database")
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        deployment = deployment_at(given.home, os.environ["CELLASSETS_CATALOGUE"])
        count_reads(deployment.lake_root)
        is_first = given.measure in SENSORS
        print(json.dumps(measure_first(deployment, given.measure) if is_first else measure_changes(deployment)))
        return
    size = Size(max(8, int(FULL.n_experiments * given.scale)), max(2, int(FULL.n_models * given.scale)))
    with tempfile.TemporaryDirectory() as folder, postgres(given.postgres) as url:
        home = given.home or Path(folder)
        result: dict[str, Any] = {"n_experiments": size.n_experiments, "n_models": size.n_models}
        result["n_assets_per_map"] = len(map_chain())
        started = time.perf_counter()
        if not (home / "lake").is_dir():
            build(deployment_at(home, ""), size)
        result["build_s"] = round(time.perf_counter() - started, 1)
        result["sqlite"] = measure(home, "")
        result["postgres"] = measure(home, url)
    print(table(result))
    print(json.dumps({name: result[name]["refresh_parts_s"] for name in ("sqlite", "postgres")}))
    if given.scale == 1.0:
        RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
