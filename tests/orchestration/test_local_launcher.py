"""Runs whose process is gone are found and go on, also where nothing of Dagster was left to notice it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml

from resources import local_launcher
from resources.local_launcher import LAUNCHED_TAG, LocalRunLauncher, here, is_alive, uptime_s

REPOSITORY = Path(__file__).parents[2]
DEFINITIONS = """
import os, time
from pathlib import Path
import dagster as dg

PLACE = Path(os.environ["TEST_PLACE"])

@dg.op
def work(context):
    attempt = PLACE / f"attempt-{len(list(PLACE.glob('attempt-*')))}"
    attempt.write_text(str(os.getpid()))
    if attempt.name == "attempt-0":
        time.sleep(600)

@dg.job(executor_def=dg.in_process_executor)
def job():
    work()

@dg.sensor(job=job, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def once():
    return dg.RunRequest(run_key="once")

definitions = dg.Definitions(jobs=[job], sensors=[once])
"""


@pytest.fixture
def process():
    """A process that lives until the test ends."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as started:
        yield started
        started.kill()


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def test_a_process_is_alive_until_it_is_killed(process):
    assert is_alive(process.pid, started_before_s=uptime_s() + 1)
    assert is_alive(process.pid)
    process.kill()
    deadline = time.monotonic() + 10
    while is_alive(process.pid, started_before_s=uptime_s() + 1) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(process.pid, started_before_s=uptime_s() + 1), "nobody has waited for it: it is a zombie"


def test_a_younger_process_with_the_number_is_not_the_one(process):
    assert not is_alive(process.pid, started_before_s=uptime_s() - 60)


def checked(instance, pid, launched, *, server='{"socket": "/tmp/x"}'):
    """The state that the launcher reports of a run that started in a process."""
    run = dg.DagsterRun(
        "job", status=dg.DagsterRunStatus.STARTED, tags={".dagster/grpc_info": server, LAUNCHED_TAG: launched}
    )
    instance.add_run(run)
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "job", pid=pid)
    instance.report_dagster_event(event, run.run_id)
    launcher = LocalRunLauncher()
    launcher.register_instance(instance)
    return launcher.check_run_worker_health(run).status.value


def test_what_the_launcher_reports(instance, process):
    now = f"{here()} {uptime_s():.0f}"
    host, boot, since = now.split()
    assert checked(instance, process.pid, now) == "RUNNING"
    assert checked(instance, 2**22 + 7, now) == "NOT_FOUND", "no process has this number"
    assert checked(instance, process.pid, f"{host} another-boot {since}") == "NOT_FOUND"
    assert checked(instance, 2**22 + 7, f"elsewhere {boot} {since}") == "RUNNING", "another machine cannot be asked"
    assert checked(instance, 2**22 + 7, now, server='{"host": "10.0.0.9", "port": 4000}') == "RUNNING"


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.2)
    return found


def processes_of(home: Path) -> list[int]:
    """The processes that have the home in their environment: daemon, code server and runs."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and f"DAGSTER_HOME={home}\0".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_run_goes_on_after_daemon_code_server_and_run_were_killed(tmp_path, monkeypatch):
    settings = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    assert settings["run_monitoring"]["poll_interval_seconds"] <= 60
    settings["run_monitoring"]["poll_interval_seconds"] = 2
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("TEST_PLACE", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    program = str(Path(sys.executable).with_name("dagster-daemon"))

    def start():
        with (tmp_path / "daemon.log").open("ab") as log:
            command = [program, "run", "-f", str(tmp_path / "definitions.py")]
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)

    daemon = start()
    try:
        wait_for((tmp_path / "attempt-0").exists, 60, "the first attempt")
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            (first,) = instance.get_runs()
            killed = processes_of(tmp_path)
            assert int((tmp_path / "attempt-0").read_text()) in killed
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            daemon.wait()
            assert instance.get_run_by_id(first.run_id).status == dg.DagsterRunStatus.STARTED
            daemon = start()
            succeeded = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS])
            (second,) = wait_for(lambda: instance.get_runs(filters=succeeded), 90, "the second attempt")
            assert second.parent_run_id == first.run_id
            assert instance.get_run_by_id(first.run_id).status == dg.DagsterRunStatus.FAILURE
    finally:
        for pid in processes_of(tmp_path):
            os.kill(pid, signal.SIGKILL)
        daemon.wait()
    assert settings["run_monitoring"]["start_timeout_seconds"] <= local_launcher.START_S
