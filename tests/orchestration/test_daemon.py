"""The whole line under Dagster's real daemon, from landing to scores, and exactly what a new experiment makes stale."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml
from upath import UPath

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.reconcile.models import active_models, dataset_state
from cellassets.reconcile.policy import load_policy
from cellassets.reconcile.scores import stale_scores, wanted_protocols
from cellassets.registry import Registry
from cellassets.storage.deployment import Home
from cellassets.storage.lake import Lake

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
            record.dagster_run.tags.get("dagster/partition", ""),
        )
        for record in records
        if record.create_timestamp.timestamp() > after
    )


SCORED = "+".join(sorted([*(f"benchmark/{name}" for name in BENCHMARKS), "perturbation_map"]))
TAKEN_IN = "plate_quality+plate_store+raw_plates"


def test_scores_of_every_model_on_every_cell_type_come_out(home):
    lake = Lake(UPath(home.lake))
    board = pl.read_parquet(lake.leaderboard().path("leaderboard.parquet").read_bytes())
    assert set(board["dataset_id"]) == {"HUVEC", "U2OS"}
    assert set(board["model_key"]) == {"classical.v1", "tiny_network.v1"}
    assert not board["is_stale"].any()
    assert lake.model_report("tiny_network.v1").path("report.html").exists()


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
    assert elsewhere == {"benchmark/cell_type_generalisation"}, "only it looks at the model's maps of other datasets"
    board = pl.read_parquet(Lake(UPath(home.lake)).leaderboard().path("leaderboard.parquet").read_bytes())
    assert not board.filter(pl.col("dataset_id") == "U2OS")["is_stale"].any()


@pytest.fixture
def state(home, configs, tmp_path):
    """Lake, models and datasets of the home, and a copy of its settings to spoil."""
    settings = UPath(shutil.copytree(configs, tmp_path / "configs"))
    models = active_models(Registry(home.tracking_uri, home.model_root).list_models(), load_policy(settings).models)
    lake = Lake(UPath(home.lake))
    return {"lake": lake, "models": models, "datasets": dataset_state(lake, settings).datasets, "configs": settings}


def test_one_wrong_settings_file_holds_up_its_own_benchmark(state):
    assert stale_scores(**state).work == []
    folder = state["configs"] / "benchmarks"
    folder.mkdir(exist_ok=True)
    (folder / "dose_response.yaml").write_text("n_permutation: 999\n")
    found = stale_scores(**state)
    assert found.work == []
    assert len(found.waiting) == 4
    assert all(item.what.startswith("dose_response on ") and "n_permutation" in item.reason for item in found.waiting)
    protocols = wanted_protocols(state["lake"], state["datasets"], state["configs"])
    assert protocols("dose_response", "HUVEC", "classical.v1") is None
    assert protocols("perturbation_consistency", "HUVEC", "classical.v1") is not None
    (state["configs"] / "mapping.yaml").write_text("stepz: []\n")
    found = stale_scores(**state)
    assert found.work == []
    assert sorted({item.what.split(" by ")[0] for item in found.waiting}) == ["map of HUVEC", "map of U2OS"]


def test_a_benchmark_is_backfilled_over_the_maps_that_lack_it(home, instance):
    """Last of all: what is queued here would run with the next demo."""
    command = [sys.executable, "scripts/backfill.py", "--benchmark", "perturbation_magnitude", "--home", str(home.root)]

    def backfill():
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout

    assert "everything is there already" in backfill()
    for model_key in ("classical.v1", "tiny_network.v1"):
        (Path(home.lake) / f"scores/perturbation_magnitude/U2OS/{model_key}/record.json").unlink()
    assert "of 2 partitions of benchmark/perturbation_magnitude is queued" in backfill()
    asked_for = [queued.asset_selection for queued in instance.get_backfills()]
    assert asked_for.count([dg.AssetKey(["benchmark", "perturbation_magnitude"])]) == 1
