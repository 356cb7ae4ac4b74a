"""The whole line under Dagster's real daemon, from landing to scores, and exactly what a new experiment makes stale."""

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml

from cellassets.reconcile.live import LiveSnapshot
from cellassets.reconcile.work import map_agenda, map_chain
from cellassets.stages.catalogue import stages
from cellassets.stages.state import is_current, state_of
from cellassets.storage.deployment import Deployment, Home
from cellassets.storage.lake import Lake
from resources.places import DeploymentResource
from sensors.stale_scores import stale_scores

REPOSITORY = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def demo(home: Path, configs: Path, design: Path) -> str:
    command = [sys.executable, "scripts/demo.py", "--home", home, "--configs", configs, "--design", design]
    environment = {**os.environ, "COLUMNS": "120"}
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, env=environment)
    log = home / "daemon.log"
    assert answer.returncode == 0, answer.stdout + answer.stderr + (log.read_text()[-5000:] if log.exists() else "")
    return answer.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory, configs, design_file) -> Home:
    folder = tmp_path_factory.mktemp("home")
    demo(folder, configs, design_file)
    return Home(folder)


@pytest.fixture
def instance(home, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(home.dagster_home))
    with dg.DagsterInstance.from_config(str(home.dagster_home)) as opened:
        yield opened


def asked(instance, *, after: float = 0.0) -> list[tuple[str, str]]:
    """The (assets, partition) of every run that was asked for since a time."""
    records = instance.get_run_records()
    return sorted(
        (
            "+".join(sorted(key.to_user_string() for key in record.dagster_run.asset_selection)),
            partitions(record.dagster_run.tags),
        )
        for record in records
        if record.create_timestamp.timestamp() > after
    )


def partitions(tags: dict[str, str]) -> str:
    """The partition of a run, or the first and the last of several."""
    ends = [tags.get(f"dagster/asset_partition_range_{end}", "") for end in ("start", "end")]
    return tags.get("dagster/partition", " to ".join(filter(None, ends)))


SCORED = "+".join(sorted(map_chain()))
MODELS = ("classical.v1", "tiny_network.v1")
TAKEN_IN = "plate_quality+plate_store+raw_plates"


def lake_of(home: Home) -> Lake:
    return Deployment.of({}, home=home.root).lake


def leaderboard_of(home: Home) -> pl.DataFrame:
    return pl.read_parquet(lake_of(home).current("leaderboard").path("leaderboard.parquet").read_bytes())


def snapshot_of(home: Home, configs: Path) -> LiveSnapshot:
    """What is there and how it stands, as a sensor sees it that has just started."""
    snapshot = LiveSnapshot(Deployment.of({}, home=home.root, configs=configs), stages())
    snapshot.refresh()
    snapshot.refresh_landing({}, datetime.now(UTC), timedelta(minutes=10))
    return snapshot


def test_scores_of_every_model_on_every_cell_type_come_out(home):
    board = leaderboard_of(home)
    assert set(board["dataset_id"]) == {"HUVEC", "U2OS"}
    assert set(board["model_key"]) == {"classical.v1", "tiny_network.v1"}
    assert not board["is_stale"].any()
    assert lake_of(home).current("model_report", "tiny_network.v1").path("report.html").exists()


def test_the_second_cell_type_came_by_one_backfill(instance):
    backfilled = [run for run in instance.get_runs() if "dagster/backfill" in run.tags]
    assert {key.to_user_string() for run in backfilled for key in run.asset_selection} == {"site_embeddings"}
    assert len({run.tags["dagster/backfill"] for run in backfilled}) == 1


def test_each_piece_of_work_was_asked_for_once(instance):
    runs = [run for run in asked(instance) if run[0] in (TAKEN_IN, "checkpoint", "site_embeddings", SCORED)]
    assert len(runs) == len(set(runs))
    assert [partition for assets, partition in runs if assets == "checkpoint"] == ["classical", "tiny_network"]


def test_running_again_does_nothing_and_says_so_within_seconds(home, instance, configs, design_file):
    before = asked(instance)
    printed = demo(home.root, configs, design_file)
    assert "nothing to do" in printed
    assert "classical" in printed
    assert asked(instance) == before


@pytest.mark.long
def test_a_new_experiment_makes_stale_exactly_its_own_cell_type(home, instance, configs, design_file, tmp_path):
    values = yaml.safe_load(design_file.read_text())
    values["cell_types"][1]["n_experiments"] = 2
    wider = tmp_path / "wider.yaml"
    wider.write_text(yaml.safe_dump(values))
    started = time.time()
    demo(home.root, configs, wider)
    runs = asked(instance, after=started)
    assert [run for run in runs if run[0] == TAKEN_IN] == [(TAKEN_IN, "U2OS-2")]
    assert [run for run in runs if run[0] == "site_embeddings"] == [
        ("site_embeddings", "U2OS-2|classical.v1"),
        ("site_embeddings", "U2OS-2|tiny_network.v1"),
    ]
    assert [run for run in runs if run[0] == SCORED] == [
        (SCORED, "U2OS|classical.v1"),
        (SCORED, "U2OS|tiny_network.v1"),
    ]
    assert not [run for run in runs if "checkpoint" in run[0]]
    elsewhere = {run[0] for run in runs if run[1].startswith("HUVEC|")}
    assert elsewhere == {"benchmark/cell_type_generalisation"}, "it alone looks at the model's maps of other datasets"
    board = leaderboard_of(home)
    assert not board.filter(pl.col("dataset_id") == "U2OS")["is_stale"].any()


ASSETS = "{ assetNodes { assetKey { path } isMaterializable isPartitioned staleStatus } }"
PARTITIONS = """query p($keys: [AssetKeyInput!]) {
  assetNodes(assetKeys: $keys) { assetKey { path } partitionKeys staleStatusByPartition }
}"""


def ask_dagster(home: Home, query: str, **variables) -> list[dict]:
    """The asset nodes that the UI's own API answers with."""
    environment = {**os.environ, "DAGSTER_HOME": str(home.dagster_home), "CELLASSETS_HOME": str(home.root)}
    program = str(Path(sys.executable).with_name("dagster-graphql"))
    command = [program, "-w", "workspace.yaml", "-t", query, "-v", json.dumps(variables)]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=environment, check=False)
    line = next((line for line in answer.stdout.splitlines() if line.startswith('{"data"')), "")
    assert line, answer.stdout + answer.stderr
    return json.loads(line)["data"]["assetNodes"]


def unsynced(home: Home) -> set[tuple[str, str]]:
    """The materialised partitions that Dagster's UI calls unsynced."""
    assets = [node for node in ask_dagster(home, ASSETS) if node["isMaterializable"]]
    whole = {("/".join(a["assetKey"]["path"]), "") for a in assets if a["staleStatus"] == "STALE"}
    keys = [{"path": asset["assetKey"]["path"]} for asset in assets if asset["isPartitioned"]]
    return whole | {
        ("/".join(asset["assetKey"]["path"]), key)
        for asset in ask_dagster(home, PARTITIONS, keys=keys)
        for key, status in zip(asset["partitionKeys"], asset["staleStatusByPartition"], strict=True)
        if status == "STALE"
    }


def due(snapshot: LiveSnapshot) -> set[tuple[str, str]]:
    """The published partitions that reconcile calls due."""
    found = set()
    for publication in snapshot.records:
        if state_of(snapshot, publication.kind, *publication.keys).status == "due":
            found.add((publication.kind, "|".join(publication.keys)))
    return found


def test_what_dagster_calls_unsynced_is_what_reconcile_calls_due(home, instance, configs, tmp_path):
    """After a clean run nothing is; after a change of a setting exactly the same partitions are, in both."""
    assert unsynced(home) == due(snapshot_of(home, configs)) == set()
    changed = Path(shutil.copytree(configs, tmp_path / "configs"))
    (changed / "mapping.yaml").write_text("n_judged_wells: 300\n")
    deployment = DeploymentResource.of(Deployment.of({}, home=home.root, configs=changed))
    cursor = next(
        state.instigator_data.cursor for state in instance.all_instigator_state() if state.name == "stale_scores"
    )
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"deployment": deployment})
    for event in stale_scores(context).asset_events:
        instance.report_runless_asset_event(event)
    maps = {("perturbation_map", f"{dataset}|{model}") for dataset in ("HUVEC", "U2OS") for model in MODELS}
    assert unsynced(home) == due(snapshot_of(home, changed)) == maps | {("leaderboard", "")}


def test_one_wrong_settings_file_holds_up_its_own_benchmark(home, configs, tmp_path):
    changed = Path(shutil.copytree(configs, tmp_path / "configs"))
    assert map_agenda(snapshot_of(home, changed)).work == []
    (changed / "benchmarks").mkdir(exist_ok=True)
    (changed / "benchmarks" / "dose_response.yaml").write_text("n_permutation: 999\n")
    snapshot = snapshot_of(home, changed)
    found = map_agenda(snapshot)
    assert found.work == []
    assert len(found.waiting) == 4
    assert all(item.what.startswith("benchmark/dose_response of ") for item in found.waiting)
    assert all("n_permutation" in item.reason for item in found.waiting)
    assert not is_current(snapshot, "benchmark/dose_response", "HUVEC", "classical.v1")
    assert is_current(snapshot, "benchmark/perturbation_consistency", "HUVEC", "classical.v1")
    (changed / "mapping.yaml").write_text("stepz: []\n")
    found = map_agenda(snapshot_of(home, changed))
    assert found.work == []
    assert {item.what for item in found.waiting} >= {
        f"perturbation_map of {dataset}|{model}" for dataset in ("HUVEC", "U2OS") for model in MODELS
    }


def test_a_benchmark_is_backfilled_over_the_maps_that_lack_it(home, instance):
    """Last of all: what is queued here would run with the next demo."""
    command = [sys.executable, "scripts/backfill.py", "--benchmark", "perturbation_magnitude", "--home", str(home.root)]

    def backfill():
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout

    assert "everything is there already" in backfill()
    lake = lake_of(home)
    for model_key in MODELS:
        scores = lake.artifact("benchmark/perturbation_magnitude", "U2OS", model_key)
        for generation in range(1, scores.generation() + 1):
            Path(scores.record_path(generation).path).unlink()
    assert lake.scan().n_forgotten == 2
    assert "of 2 partitions of benchmark/perturbation_magnitude is queued" in backfill()
    asked_for = [queued.asset_selection for queued in instance.get_backfills()]
    assert asked_for.count([dg.AssetKey(["benchmark", "perturbation_magnitude"])]) == 1
