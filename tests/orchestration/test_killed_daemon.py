"""A daemon killed between what a sensor asked for and the cursor of the sensor: the next one loses and repeats nothing.

Dagster names the places in a tick at which its own tests kill the daemon; the same places are used here.
"""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest

REPOSITORY = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SENSOR = "new_experiments"
EXPERIMENTS = ["E-1", "E-2"]
# in the order of a tick
PLACES = {
    "AUTOMATION_EVALUATIONS_ADDED": "events and partition keys are reported, nothing else is stored",
    "RUN_IDS_RESERVED": "what the sensor asked for is stored, no run exists",
    "RUN_CREATED": "the first run exists, and is not queued",
    "RUN_LAUNCHED": "the first run is queued, the cursor is not stored",
}
# the places between two writes that belong together; `make test-long` takes the others too
TELLING = ("AUTOMATION_EVALUATIONS_ADDED", "RUN_CREATED")
PROGRAM = """
import json, logging, signal, sys
import dagster as dg
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.sensor import execute_sensor_iteration

sensor, place = sys.argv[1:]
N_ITERATIONS = 2

def let_intervals_pass(instance):
    for state in instance.all_instigator_state():
        data = state.instigator_data._replace(last_tick_start_timestamp=0.0, last_tick_timestamp=0.0)
        instance.update_instigator_state(state.with_data(data))

target = ModuleTarget("cellassets.definitions", None, "/", "cellassets")
with dg.DagsterInstance.get() as instance, create_test_daemon_workspace_context(target, instance) as context:
    crash = {sensor: {place: signal.SIGKILL}} if place else None
    logger = logging.getLogger("test")
    for _ in range(N_ITERATIONS):
        let_intervals_pass(instance)
        list(execute_sensor_iteration(context, logger, None, None, debug_crash_flags=crash))
"""


def tick(environment, log, *, killed_at=""):
    """Two iterations of the daemon's sensors in a process of its own, which ends as expected."""
    command = [sys.executable, "-c", PROGRAM, SENSOR, killed_at]
    with log.open("wb") as stream:  # a killed daemon leaves its code server behind, which would keep a pipe open
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env=environment, cwd=REPOSITORY, start_new_session=True
        )
        status = process.wait(200)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert status == (-signal.SIGKILL if killed_at else 0), log.read_text()


@pytest.mark.parametrize(
    "place", [place if place in TELLING else pytest.param(place, marks=pytest.mark.long) for place in PLACES]
)
def test_a_daemon_killed_in_a_tick_loses_nothing_and_starts_nothing_twice(zone, tmp_path, place):
    for name in EXPERIMENTS:
        zone.land(name)
    home, configs, log = tmp_path / "dagster", tmp_path / "configs", tmp_path / "tick.log"
    home.mkdir()
    configs.mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", home)
    (configs / "policy.yaml").write_text("{}")
    places = {"CELLASSETS_HOME": tmp_path, "CELLASSETS_CONFIGS": configs, "CELLASSETS_LANDING": zone.root}
    environment = {**os.environ, **{name: str(path) for name, path in places.items()}, "DAGSTER_HOME": str(home)}
    tick(environment, log, killed_at=place)
    with dg.DagsterInstance.from_config(str(home)) as instance:

        def cursor():
            return next(s.instigator_data.cursor for s in instance.all_instigator_state() if s.name == SENSOR)

        assert cursor() is None, "it was killed before the cursor was stored"
        tick(environment, log)
        assert cursor() is not None
        runs = instance.get_runs()
        assert sorted(run.tags["dagster/partition"] for run in runs) == EXPERIMENTS
        assert {run.status for run in runs} == {dg.DagsterRunStatus.QUEUED}
        assert sorted(instance.get_dynamic_partitions("experiment")) == EXPERIMENTS
        landed = instance.fetch_materializations(dg.AssetKey("landed_experiment"), limit=10).records
        assert sorted(record.partition_key for record in landed) == EXPERIMENTS, "each version is reported once"
