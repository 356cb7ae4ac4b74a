"""`scripts/backfill.py` and `scripts/demo.py`, as far as they need no daemon: what is missing, how the demo stands."""

import importlib.util
import os
import shutil
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from upath import UPath

from cellassets.errors import BenchmarkError, DatasetError
from cellassets.reconcile.standing import EMBEDDINGS_TITLE, MAPS_TITLE
from cellassets.stages.catalogue import open_snapshot
from cellassets.storage.deployment import Deployment, Home
from cellassets.synthetic.presets import tiny_design

SCRIPTS = Path(__file__).parents[2] / "scripts"
MAP = {"dataset": "HUVEC", "model": "plain.v1"}


def load(name):
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


backfill, demo = load("backfill"), load("demo")


@pytest.fixture
def snapshot_of(home):
    return lambda: open_snapshot(Deployment.of({}, home=home))


@pytest.fixture
def environment(monkeypatch):
    """An empty environment that a script may fill."""
    monkeypatch.setattr(os, "environ", {})
    return os.environ


def forget(home, kind):
    """Removes the publications of a kind, in the catalogue too."""
    shutil.rmtree(home / "lake/records" / kind)
    Deployment.of({}, home=home).lake.scan()


def test_a_dataset_that_waits_is_backfilled_with_every_active_model(snapshot_of):
    assert backfill.missing_embeddings(snapshot_of(), "HUVEC").partitions == []
    missing = backfill.missing_embeddings(snapshot_of(), "U2OS")
    assert missing.asset == "site_embeddings"
    assert missing.partitions == [{"experiment": "U2OS-1", "model": "plain.v1"}]
    assert missing.left_out == []


def test_what_is_not_stored_is_left_out_with_the_reason(home, snapshot_of):
    forget(home, "plate_store")
    missing = backfill.missing_embeddings(snapshot_of(), "U2OS")
    assert missing.partitions == []
    assert missing.left_out[0].what == "site_embeddings of U2OS-1|plain.v1"
    assert "waits for plate_store of U2OS-1" in missing.left_out[0].reason


def test_a_benchmark_is_backfilled_over_the_maps_that_lack_it(home, snapshot_of):
    assert backfill.missing_scores(snapshot_of(), "dose_response", None).partitions == []
    forget(home, "benchmark/dose_response")
    assert backfill.missing_scores(snapshot_of(), "dose_response", None).partitions == [MAP]
    assert backfill.missing_scores(snapshot_of(), "dose_response", "HUVEC").partitions == [MAP]
    assert backfill.missing_scores(snapshot_of(), "dose_response", "U2OS").partitions == []
    assert backfill.missing_scores(snapshot_of(), "analogies", None).partitions == []


def test_a_map_that_is_out_of_date_is_scored_once_in_its_present_state(home, snapshot_of):
    (home / "configs/mapping.yaml").write_text("n_judged_wells: 30\n")
    assert backfill.missing_scores(snapshot_of(), "dose_response", None).partitions == []
    forget(home, "benchmark/dose_response")
    assert backfill.missing_scores(snapshot_of(), "dose_response", None).partitions == [MAP]


def test_maps_that_cannot_be_scored_are_left_out_with_the_reason(home, snapshot_of):
    (home / "configs/benchmarks/dose_response.yaml").write_text("n_permutation: 999\n")
    missing = backfill.missing_scores(snapshot_of(), "dose_response", None)
    assert missing.partitions == []
    assert [item.what for item in missing.left_out] == ["benchmark/dose_response of HUVEC|plain.v1"]
    assert "n_permutation" in missing.left_out[0].reason


def test_what_does_not_exist_cannot_be_backfilled(snapshot_of):
    with pytest.raises(DatasetError, match="known: HUVEC, U2OS"):
        backfill.missing_embeddings(snapshot_of(), "RPE")
    with pytest.raises(BenchmarkError, match="nonsense"):
        backfill.missing_scores(snapshot_of(), "nonsense", None)


def test_a_backfill_of_a_home_enters_that_home_alone(home, environment):
    environment.update(CELLASSETS_LAKE="gs://production/lake", DAGSTER_HOME="/production")
    Home(home).dagster_home.mkdir()
    (Home(home).dagster_home / "dagster.yaml").touch()
    deployment = backfill.enter(home, None)
    assert deployment == Deployment.of({}, home=home)
    assert Deployment.of(environment) == deployment
    assert environment["DAGSTER_HOME"] == str(home / "dagster")


@pytest.fixture
def entered(home, environment):
    """The demo in a home in which everything is made except what waits for its backfill."""
    environment.update(CELLASSETS_LAKE="gs://production/lake")
    found = demo.Demo(Home(home), tiny_design(), home / "configs", datetime.now(UTC))
    found.enter()
    return found


def test_the_demo_acts_on_its_home_alone_which_remembers_the_settings(entered, environment):
    root = entered.home.root
    assert entered.deployment == Deployment.of({}, home=root)
    linked = replace(entered.deployment, ui_url="http://127.0.0.1:3000")  # MLflow's runs link to what `make ui` serves
    assert Deployment.of(environment) == linked
    assert entered.deployment.lake_root == str(root / "lake")
    assert Deployment.of({"CELLASSETS_HOME": str(root)}).configs == UPath(root / "configs")
    assert (Path(environment["DAGSTER_HOME"]) / "dagster.yaml").is_file()


def test_the_demo_has_one_bar_for_each_kind_of_asset_and_says_what_waits(entered):
    stands = {stand.what: stand for stand in entered.standing()}
    assert list(stands) == list(demo.ASSETS)
    assert stands[MAPS_TITLE].is_done
    assert demo._waiting(stands[MAPS_TITLE]) == ""
    assert demo._waiting(stands[EMBEDDINGS_TITLE]).startswith("dataset U2OS")
    assert {"HUVEC": entered.is_mapped("HUVEC"), "U2OS": entered.is_mapped("U2OS")} == {"HUVEC": True, "U2OS": False}
    assert not demo.is_complete(entered)


def test_the_demo_shows_leaderboard_and_reports(entered):
    with demo.console.capture() as captured:
        entered.standing()
        demo.show(entered)
    assert "known relationships" in captured.get()
    report = next(line for line in captured.get().splitlines() if line.endswith("report.html"))
    assert Path(report.strip()).is_file()


def test_without_a_terminal_the_demo_says_one_line_for_each_finished_kind():
    bars = demo.Bars()
    with demo.console.capture() as captured, bars.progress:
        for n_done in (0, 1, 2, 2):
            bars.show("plates", n_done, 2)
        bars.show("models", 0, 0)
        bars.show("plates", 2, 3)
        bars.show("plates", 3, 3)
    said = [line.partition(", after")[0] for line in captured.get().splitlines() if line]
    assert said == ["plates: 2 of 2", "plates: 3 of 3"]
