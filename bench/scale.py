"""Dagster on Postgres with a large lake: pages of the UI, sensors' ticks, and the start of a backfill.

The lake is that of bench/reconcile.py (2,000 experiments x 40 models, everything current), with a fifth cell type of
500 experiments that are stored and not embedded. Dagster's database has the runs and materialisations of all of it,
100,000 finished runs and 1,000 failed ones (`bench/lakes/history.py` says how they differ from real ones). Catalogue
and Dagster's database are on one Postgres server; webserver, code location and daemons run as in deploy/kustomize.

Measured: the seconds until each page shows its content in Chromium, at the first and the second visit, while two
daemons evaluate all sensors (goal 5 s); the ticks of the sensors meanwhile (goal: median below half of their interval);
idle ticks in one process, before and after the old runs were added, with their SQL statements and rows (goal: no more
rows); and a backfill of the new cell type by all models with `scripts/backfill.py`: seconds until its first run starts,
until its page shows progress (goal 60 s for both), and until its first partition is done. The processor time of
webserver and code location during a visit is printed beside: other work on the machine does not change it. Prints a
table and writes bench/results/scale.json; ends with 1 if a goal is missed.

    python bench/scale.py                  everything; --scale 0.02 for a fiftieth
    python bench/scale.py --home FOLDER    keeps the lake there and takes it from there the next time
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from lakes.current import Size, build, dataset_names
from lakes.history import History, runs_of
from lakes.unembedded import CELL_TYPE, land_and_store, register_with_files
from live.pages import PageKind, asset_pages, in_browser, visit, visit_all
from live.services import REPOSITORY, Services, databases, running, write_instance
from live.ticks import SENSORS, Ticks, durations, recorded

from cellassets.stages.catalogue import open_snapshot
from cellassets.storage.deployment import Deployment
from sensors.lake_scan import lake_scan

RESULT = Path(__file__).parent / "results" / "scale.json"
FULL = Size(n_experiments=2_000, n_models=40)
N_OLD, N_FAILED = 100_000, 1_000
PAGE_LIMIT_S, BACKFILL_LIMIT_S = 5.0, 60.0
INTERVALS_S = {sensor.name: sensor.minimum_interval_seconds for sensor in (*SENSORS, lake_scan)}
PATIENCE_S = 600.0
SLACK_ROWS = 100  # a tick reads the keys of models now and then
BACKFILL_TAG = "dagster/backfill"
STARTED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
PROGRESS = r"% completed\s+[\d,]+\s+(?!0\s+0\s)"  # partitions asked for, in progress, succeeded, failed
TABLES = "SELECT relname, pg_total_relation_size(relid) FROM pg_catalog.pg_statio_user_tables ORDER BY 2 DESC LIMIT 6"


def tell(line: str) -> None:
    """Prints a line on what is being done."""
    print(line, file=sys.stderr, flush=True)


def make_lake(deployment: Deployment, size: Size) -> None:
    """Builds the lake where there is none; its policy names the datasets that are current."""
    if Path(deployment.lake_root).is_dir():
        return
    build(deployment, size, register_model=register_with_files)
    policy = {"models": {"newest": 1_000}, "datasets": {"active": dataset_names()}}
    (Path(deployment.configs_root) / "policy.yaml").write_text(json.dumps(policy))
    land_and_store(deployment, size.n_experiments // 4)


def fill(history: History, deployment: Deployment, size: Size) -> None:
    """Writes what the lake's runs would have left in Dagster."""
    snapshot = open_snapshot(deployment)
    models, landed = [entry.key for entry in snapshot.models()], snapshot.keys("raw_plates")
    history.add_keys({"experiment": landed, "model": models, "dataset": [*dataset_names(), CELL_TYPE]})
    history.add(runs_of(size.experiments, models, dataset_names()))


def warm_up(instance: dg.DagsterInstance, since_s: float) -> None:
    """Returns when every sensor has had a tick: after its start the code location reads the lake once."""
    while not recorded(instance, since_s).keys() >= {sensor.name for sensor in SENSORS}:
        if time.time() - since_s > PATIENCE_S:
            message = f"not every sensor had a tick within {PATIENCE_S:.0f} s; look at the daemon's log"
            raise SystemExit(message)
        time.sleep(1)


def pages_of(instance: dg.DagsterInstance, graph: Any) -> list[PageKind]:
    """Returns the pages to visit; one benchmark stands for all of them, since they are built alike."""
    every = sorted(graph.get_all_asset_keys(), key=lambda key: key.path)
    benchmarks = [key for key in every if key.path[0] == "benchmark"]
    keys = [key for key in every if key not in benchmarks[1:]]
    partitioned = [
        key for key in keys if graph.get(key).partitions_def is not None and not _is_empty(instance, graph, key)
    ]
    first = {"/".join(key.path): _first_key(instance, graph, key) for key in partitioned}
    return [
        PageKind("lineage of all groups", "/asset-groups", "Materialize all"),
        PageKind("lineage of embeddings", "/locations/cellassets/asset-groups/embeddings", r"\d+% filled"),
        PageKind("lineage of benchmarks", "/locations/cellassets/asset-groups/benchmarks", r"[\d,]+ partitions", 5),
        PageKind("catalogue", "/assets", r"[\d,]+ partitions", 10),
        *asset_pages(["/".join(key.path) for key in keys], first),
        PageKind("site_embeddings: events", "/assets/site_embeddings?view=events", "materialized in run"),
        PageKind("plate_quality: events", "/assets/plate_quality?view=events", "materialized in run"),
        PageKind("site_embeddings: checks", "/assets/site_embeddings?view=checks", "sites_have_vectors_of_their_own"),
        PageKind("runs", "/runs", "View all tags", 10),
        PageKind("backfills", "/runs?view=backfills", "No runs found|No backfills"),
        PageKind("sensors", "/automation", "Standard sensor", len(INTERVALS_S)),
        PageKind("one sensor", "/locations/cellassets/sensors/new_models", r"\d+ runs? requested", 5),
        PageKind("timeline", "/overview/activity/timeline", "No runs or scheduled|cellassets"),
    ]


def _is_empty(instance: dg.DagsterInstance, graph: Any, key: dg.AssetKey) -> bool:
    return not graph.get(key).partitions_def.get_partition_keys(dynamic_partitions_store=instance)


def _first_key(instance: dg.DagsterInstance, graph: Any, key: dg.AssetKey) -> str:
    first = graph.get(key).partitions_def.get_partition_keys(dynamic_partitions_store=instance)[0]
    return str(first).partition("|")[0]


def backfill(instance: dg.DagsterInstance, services: Services) -> dict[str, Any]:
    """Returns how many seconds after the request the backfill of the new cell type was queued, started and showed."""
    requested = time.time()
    command = [sys.executable, "scripts/backfill.py", CELL_TYPE]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=services.environment, capture_output=True, text=True, check=False
    )
    if done.returncode or "is queued" not in done.stdout:
        message = f"{' '.join(command)} ended with {done.returncode}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
        raise SystemExit(message)
    found: dict[str, Any] = {"all_queued_s": round(time.time() - requested, 1)}
    first = min(instance.get_backfills(), key=lambda one: one.backfill_timestamp)
    found["queued_s"] = round(first.backfill_timestamp - requested, 1)

    async def look(page: Any) -> None:
        kind = PageKind("backfill", f"/runs/b/{first.backfill_id}", PROGRESS)
        while "shown_s" not in found or "first_done_s" not in found:
            record = _first_run(instance, first.backfill_id)
            if record is not None:
                found.setdefault("started_s", round(record.start_time - requested, 1))
            if "shown_s" not in found and record is not None and (await visit(page, services, kind))["is_there"]:
                found["shown_s"] = round(time.time() - requested, 1)
            n_done = len(_done(instance, first.backfill_timestamp))
            if n_done:
                found.setdefault("first_done_s", round(time.time() - requested, 1))
            if time.time() - requested > PATIENCE_S:
                return
            time.sleep(0.5)

    in_browser(look)
    return found


def _first_run(instance: dg.DagsterInstance, backfill_id: str) -> dg.RunRecord | None:
    filters = dg.RunsFilter(tags={BACKFILL_TAG: backfill_id}, statuses=STARTED)
    records = instance.get_run_records(filters)
    return min(records, key=lambda record: record.start_time) if records else None


def _done(instance: dg.DagsterInstance, after_s: float) -> Sequence[Any]:
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey("site_embeddings"), after_timestamp=after_s)
    return instance.fetch_materializations(wanted, limit=1).records


def sizes(url: str) -> dict[str, int]:
    """Returns the bytes of the largest tables of a database, with their indexes."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = {name: int(n_bytes) for name, n_bytes in connection.execute(sa.text(TABLES))}
    engine.dispose()
    return found


def measure(home: Path, size: Size, n_old: int, n_failed: int, only: str) -> dict[str, Any]:
    """Returns everything that is measured."""
    from cellassets.definitions import definitions
    from sensors import requests

    requests.MAX_REPORTED_PER_TICK = sys.maxsize  # all at once, since they are written in bulk
    graph = definitions.resolve_asset_graph()
    result: dict[str, Any] = {"n_experiments": size.n_experiments, "n_models": size.n_models}
    local = Deployment.of({}, home=home, configs=home / "configs")
    make_lake(local, size)
    with databases("dagster", "catalogue") as (url, catalogue_url), tempfile.TemporaryDirectory() as folder:
        deployment = replace(local, catalogue_url=catalogue_url)
        deployment.lake.scan()
        dagster_home = Path(folder)
        write_instance(dagster_home, url)
        with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
            history = History(instance, url, deployment, graph)
            started = time.perf_counter()
            fill(history, deployment, size)
            tell(f"{history.n_materialisations} materialisations, {time.perf_counter() - started:.0f} s")
            ticks = Ticks(instance, deployment)
            events, result["first_ticks"] = ticks.first()
            result["n_reported"] = history.add_reported(events)
            result["idle"] = {"few_runs": ticks.idle()}
            history.add_old(n_old)
            history.add_failed(n_failed)
            result["idle"]["many_runs"] = ticks.idle()
            tell(json.dumps(result["first_ticks"]) + json.dumps(result["idle"]))
            result |= {"n_runs": history.n_runs, "n_materialisations": history.n_materialisations}
            result["table_bytes"] = sizes(url)
            with running(deployment, home, dagster_home) as services:
                since, load = time.time(), os.getloadavg()
                with services.daemons(2):
                    warm_up(instance, since)
                    kinds = [kind for kind in pages_of(instance, graph) if re.search(only, kind.name)]
                    result["pages"] = visit_all(services, kinds, tell)
                    result["ticks"] = durations(recorded(instance, since))
                result["load"] = [round(load[0], 1), round(os.getloadavg()[0], 1)]  # before and after the pages
                with services.daemons(1):
                    result["backfill"] = backfill(instance, services)
                    result["backfill_ticks"] = durations(recorded(instance, since))
    return result


def missed(result: dict[str, Any]) -> list[str]:
    """Returns the goals that were missed."""
    slow = [
        f"{name}, {which} visit: {visit['seconds']:.1f} s"
        for name, visits in result["pages"].items()
        for which, visit in visits.items()
        if visit["seconds"] >= PAGE_LIMIT_S or not visit["is_there"]
    ]
    late = [
        f"backfill, {name}: {result['backfill'].get(name)} s"
        for name in ("started_s", "shown_s")
        if result["backfill"].get(name, BACKFILL_LIMIT_S) >= BACKFILL_LIMIT_S
    ]
    long = [
        f"ticks of {name}: median {tick['median_s']:.1f} s"
        for name, tick in result["ticks"].items()
        if tick["median_s"] >= INTERVALS_S[name] / 2 or tick["errors"]
    ]
    growing = [
        f"ticks of {name} read {after['rows']} rows with old runs, {before['rows']} without"
        for name, before in result["idle"]["few_runs"].items()
        if (after := result["idle"]["many_runs"][name])["rows"] > before["rows"] + SLACK_ROWS
    ]
    return [*slow, *late, *long, *growing]


def table(result: dict[str, Any]) -> str:
    """Returns what was measured as tables for people."""
    lines = [f"{'page':46}{'first s':>8}{'second s':>9}{'CPU s':>8}  slowest query of the first visit"]
    for name, visits in result["pages"].items():
        first, second = visits["first"], visits["second"]
        slowest = next(iter(first["slowest_queries_s"].items()), ("", 0.0))
        took = f"{first['seconds']:8.1f}{second['seconds']:9.1f}{second['server_cpu_s']:8.1f}"
        lines.append(f"{name:46}{took}  {slowest[0]} {slowest[1]:.1f}")
    lines.append(f"{'sensor':20}{'ticks':>6}{'median s':>10}{'longest s':>10}")
    lines += [
        f"{name:20}{one['n']:6}{one['median_s']:10.2f}{one['longest_s']:10.2f}" for name, one in result["ticks"].items()
    ]
    lines.append(f"{'idle tick':20}{'runs':10}{'s':>8}{'CPU s':>8}{'statements':>11}{'rows':>7}")
    for runs, ticks in result["idle"].items():
        lines += [
            f"{name:20}{runs:10}{one['seconds']:8.3f}{one['cpu_s']:8.3f}{one['statements']:11}{one['rows']:7}"
            for name, one in ticks.items()
        ]
    took = {name: value for name, value in result["backfill"].items() if name.endswith("_s")}
    lines.append(f"backfill, seconds after the request: {json.dumps(took)}")
    return "\n".join(lines)


def main() -> None:
    """Measures, prints and keeps the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the experiments, models and old runs")
    parser.add_argument("--home", type=Path, help="folder of the lake, which is built there if it is missing")
    parser.add_argument("--only", default="", help="visits only pages whose name matches this expression")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # what was started ends with it
    share = given.scale
    size = Size(max(8, int(FULL.n_experiments * share)), max(2, int(FULL.n_models * share)))
    with tempfile.TemporaryDirectory() as folder:
        result = measure(given.home or Path(folder), size, int(N_OLD * share), int(N_FAILED * share), given.only)
    print(table(result))
    if share == 1.0 and not given.only:
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
    problems = missed(result)
    sys.exit("missed:\n" + "\n".join(problems) if problems else 0)


if __name__ == "__main__":
    main()
