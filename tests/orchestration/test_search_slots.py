"""The slots of searches in Dagster's real queue: somebody asks for all variants at once, and the daemon starts them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml

from cellassets.storage.deployment import Deployment
from cellassets.training.summary import CheckpointSummary
from resources.runs import UNFINISHED
from resources.search_slots import SLOT_TAG

REPOSITORY = Path(__file__).parents[2]
DEFINITIONS = """
import dagster as dg
from assets.checkpoint import checkpoint
from assets.inputs import training_data
from resources.environment import build_resources

@dg.sensor(target=[checkpoint], minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def impatient(context):
    if context.cursor:
        return dg.SkipReason("asked for already")
    context.update_cursor("asked for")
    return [dg.RunRequest(partition_key=key) for key in context.instance.get_dynamic_partitions("recipe")]

definitions = dg.Definitions(
    assets=[checkpoint, training_data],
    sensors=[impatient],
    resources=build_resources(),
    executor=dg.in_process_executor,
)
"""
RECIPE = {
    "kind": "network",
    "train_experiments": ["HUVEC-1"],
    "validation_experiments": ["HUVEC-2"],
    "backbone": {"family": "resnet", "stem_width": 4, "widths": [4], "depths": [1]},
    "embedding_dim": 4,
    "uses_flagged_sites": True,
    "augmentation": {"crop_px": 32},
    "devices": {"accelerator": "cpu"},  # so the pool of GPUs, with one place, does not limit the runs
    "n_epochs": 4,
}
RATE = "optimiser.learning_rate"
SEARCHES = {
    "one": {
        "n_at_once": 1,
        "metric": "train_loss",
        "parameters": {RATE: [1e-2, 1e-12, 2e-2]},
        "stop_poor": {"rule": "median", "after_epochs": 2, "n_siblings": 1},
    },
    "two": {"n_at_once": 2, "parameters": {"seed": [0, 1, 2]}},
}
VARIANTS = {
    "one": ["one-lr0.01", "one-lr1e-12", "one-lr0.02"],
    "two": ["two-seed0", "two-seed1", "two-seed2"],
}


@pytest.fixture
def home(stored, tmp_path, monkeypatch) -> Path:
    """The home with both searches, and the environment of a daemon on it."""
    home = Path(shutil.copytree(stored, tmp_path / "home"))
    (home / "configs/recipes").mkdir()
    for name, search in SEARCHES.items():
        values = {**RECIPE, "search": {"method": "grid", **search}}
        (home / f"configs/recipes/{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    (home / "definitions.py").write_text(DEFINITIONS)
    (home / "dagster").mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", home / "dagster")
    variables = {
        **Deployment.of({}, home=home, configs=home / "configs").environment(),
        "CELLASSETS_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return home


@pytest.fixture
def daemon(home):
    """Starts the daemon; it is stopped at the end, with the runs that are left."""
    started = []

    def start():
        command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-f", str(home / "definitions.py")]
        with (home / "daemon.log").open("ab") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=home, start_new_session=True))

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def most_at_once(records: list[dg.RunRecord]) -> int:
    """The largest number of runs that were under way at the same time."""
    changes = [(record.start_time, 1) for record in records] + [(record.end_time, -1) for record in records]
    n_now = n_most = 0
    for _, change in sorted(changes):
        n_now += change
        n_most = max(n_most, n_now)
    return n_most


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_queue_runs_as_many_variants_at_once_as_their_search_has_slots(home, daemon):
    every = [name for names in VARIANTS.values() for name in names]
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        instance.add_dynamic_partitions("recipe", every)
        daemon()
        deadline = time.monotonic() + 800
        while instance.get_runs_count() < len(every) or instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED)):
            assert time.monotonic() < deadline, (home / "daemon.log").read_text()[-5000:]
            time.sleep(0.5)
        records = {record.dagster_run.tags["dagster/partition"]: record for record in instance.get_run_records()}
    assert {record.dagster_run.status for record in records.values()} == {dg.DagsterRunStatus.SUCCESS}
    of_search = {search: [records[name] for name in names] for search, names in VARIANTS.items()}
    assert {search: most_at_once(found) for search, found in of_search.items()} == {"one": 1, "two": 2}
    slots = {name: record.dagster_run.tags[SLOT_TAG] for name, record in records.items()}
    assert sorted(slots.values()) == ["one/1"] * 3 + ["two/1"] * 2 + ["two/2"]

    lake = Deployment.of({}, home=home, configs=home / "configs").lake
    found = {name: CheckpointSummary.model_validate(lake.current("checkpoint", name).record.summary) for name in every}
    first, poor, after = (records[name] for name in VARIANTS["one"])
    assert found["one-lr1e-12"].stopped.epoch == 2
    assert first.end_time <= poor.start_time < poor.end_time <= after.start_time, "its slot went to the next"
    assert all(found[name].model_key for name in VARIANTS["two"])
