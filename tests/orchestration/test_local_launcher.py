"""Runs whose process is gone are found and go on, also where nothing of Dagster was left to notice it."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import dagster as dg
import pytest
import yaml
from dagster._core.events import EngineEventData
from dagster._core.launcher import LaunchRunContext

from resources import starting
from resources.local_launcher import LAUNCHED_TAG, START_S, LocalRunLauncher, here, is_alive, uptime_s

REPOSITORY = Path(__file__).parents[2]
DEFINITIONS = """
import os, time
from pathlib import Path
import dagster as dg

PLACE = Path(os.environ["TEST_PLACE"])

if (PLACE / "slow").exists():  # a process is started, and its run is not yet
    (PLACE / "slow").rename(PLACE / "slow-begun")
    time.sleep(600)

@dg.op
def work(context):
    attempt = PLACE / f"attempt-{len(list(PLACE.glob('attempt-*')))}"
    (PLACE / f"of-{context.run_id}-{os.getpid()}").touch()
    attempt.write_text(str(os.getpid()))
    if (PLACE / "hang").exists():
        (PLACE / "hang").unlink()
        time.sleep(600)

@dg.job(executor_def=dg.in_process_executor)
def job():
    work()

@dg.sensor(job=job, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def once():
    if (PLACE / "slow").exists() or not (PLACE / "wait").exists():
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
def instance(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as opened:
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


@pytest.fixture
def launcher(instance):
    registered = LocalRunLauncher()
    registered.register_instance(instance)
    return registered


def run_of(instance, pid=None, launched=None, *, server='{"socket": "/tmp/x"}', status=dg.DagsterRunStatus.STARTED):
    """A run that was launched as noted, and whose process, if there is one, has noted its number."""
    run = dg.DagsterRun("job", status=status, tags={".dagster/grpc_info": server})
    tags = {LAUNCHED_TAG: f"{run.run_id} {launched}"} if launched else {}
    instance.add_run(run.with_tags({**run.tags, **tags}))
    if pid is not None:
        instance.report_engine_event("Started process for run", run, EngineEventData.in_process(pid))
    return instance.get_run_by_id(run.run_id)


NO_PROCESS = 2**22 + 7  # no process has this number


def now():
    return f"{uptime_s():.0f} {here()}"


def test_what_the_launcher_reports(instance, launcher, process):
    def checked(*launch, **named):
        return launcher.check_run_worker_health(run_of(instance, *launch, **named)).status.value

    since, host, boot = now().split()
    assert checked(process.pid, now()) == "RUNNING"
    assert checked(NO_PROCESS, now()) == "NOT_FOUND"
    assert checked(process.pid, f"{since} {host} another-boot") == "NOT_FOUND"
    assert checked(NO_PROCESS, f"{since} elsewhere {boot}") == "RUNNING", "another machine cannot be asked"
    assert checked(NO_PROCESS, now(), server='{"host": "10.0.0.9", "port": 4000}') == "RUNNING"


def test_one_of_many_daemons_claims_a_run(instance, launcher):
    daemons = 8
    with ThreadPoolExecutor(daemons) as pool:
        for _ in range(20):
            run, barrier = run_of(instance, status=dg.DagsterRunStatus.STARTING), Barrier(daemons)

            def claims(_, run=run, barrier=barrier):
                barrier.wait()
                return launcher._claims(run.run_id)

            assert sum(pool.map(claims, range(daemons))) == 1


def test_a_run_that_another_daemon_has_claimed_is_left_to_it(instance, launcher):
    run = run_of(instance, status=dg.DagsterRunStatus.STARTING)
    context = LaunchRunContext(dagster_run=run, workspace=None)
    with pytest.raises(dg.DagsterInvariantViolationError, match="workspace"):
        launcher.launch_run(context)  # it has claimed the run, and would start it
    launcher.launch_run(context)


def test_a_retry_with_the_tags_of_its_parent_is_claimed_again(instance, launcher):
    parent = run_of(instance, launched=now())
    retry = dg.DagsterRun("job", tags=parent.tags, parent_run_id=parent.run_id, root_run_id=parent.run_id)
    instance.add_run(retry)
    assert not launcher._claims(parent.run_id)
    assert launcher._claims(retry.run_id)


def test_runs_that_never_start_have_failed(instance, launcher, process, monkeypatch):
    starting_status = dg.DagsterRunStatus.STARTING
    since, _, boot = now().split()
    alive = run_of(instance, process.pid, now(), status=starting_status)
    gone = run_of(instance, NO_PROCESS, now(), status=starting_status)
    unlaunched = run_of(instance, status=starting_status)
    unmade = run_of(instance, launched=now(), status=starting_status)
    elsewhere = run_of(instance, launched=f"{since} elsewhere {boot}", status=starting_status)

    def statuses():
        runs = (alive, gone, unlaunched, unmade, elsewhere)
        return [instance.get_run_by_id(run.run_id).status.value for run in runs]

    launcher.fail_unstarted()
    assert statuses() == ["STARTING", "FAILURE", "STARTING", "STARTING", "STARTING"]
    launcher.fail_unstarted()
    assert statuses() == ["STARTING", "FAILURE", "STARTING", "STARTING", "STARTING"], "they may get a process yet"
    monkeypatch.setattr(starting, "MISSING_S", 0.0)
    launcher.fail_unstarted()
    assert statuses() == ["STARTING", "FAILURE", "FAILURE", "FAILURE", "STARTING"]


@pytest.mark.parametrize("ends", [["RUN_START"], ["RUN_START", "RUN_SUCCESS"], ["RUN_START", "RUN_FAILURE"]])
def test_a_run_that_was_set_back_to_starting_gets_its_status_again(instance, launcher, ends):
    """The second daemon paused before it wrote that the run starts."""
    run = run_of(instance, NO_PROCESS, now(), status=dg.DagsterRunStatus.STARTING)
    for name in ends:
        event = dg.DagsterEvent(dg.DagsterEventType[name].value, "job")
        instance.report_dagster_event(event, run.run_id)
    status = instance.get_run_by_id(run.run_id).status
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_STARTING.value, "job"), run.run_id)
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTING
    launcher.fail_unstarted()
    assert instance.get_run_by_id(run.run_id).status == status


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


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of Dagster with the project's settings."""
    settings = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    assert settings["run_monitoring"]["poll_interval_seconds"] <= 60
    assert settings["run_monitoring"]["start_timeout_seconds"] <= START_S
    settings["run_monitoring"]["poll_interval_seconds"] = 2
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("TEST_PLACE", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return tmp_path


@pytest.fixture
def start_daemon(home):
    """Starts a daemon of the home; all are killed at the end."""
    daemons = []

    def start():
        command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-f", str(home / "definitions.py")]
        with (home / "daemon.log").open("ab") as log:
            daemons.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=home))

    yield start
    killed(home)
    for daemon in daemons:
        daemon.wait()


def killed(home):
    """Kills all processes of a home, and returns their numbers."""
    pids = processes_of(home)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return pids


SUCCEEDED = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS])


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_run_goes_on_after_daemon_code_server_and_run_were_killed(home, start_daemon):
    (home / "hang").touch()
    start_daemon()
    wait_for((home / "attempt-0").exists, 60, "the first attempt")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (first,) = instance.get_runs()
        assert int((home / "attempt-0").read_text()) in killed(home)
        assert instance.get_run_by_id(first.run_id).status == dg.DagsterRunStatus.STARTED
        start_daemon()
        (second,) = wait_for(lambda: instance.get_runs(filters=SUCCEEDED), 90, "the second attempt")
        assert second.parent_run_id == first.run_id
        assert instance.get_run_by_id(first.run_id).status == dg.DagsterRunStatus.FAILURE


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_run_goes_on_that_was_killed_with_everything_before_it_started(home, start_daemon):
    (home / "wait").touch()
    start_daemon()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        wait_for(instance.all_instigator_state, 60, "the first tick")
        (home / "slow").touch()
        wait_for((home / "slow-begun").exists, 60, "the process of the run")
        (first,) = instance.get_runs()
        killed(home)
        assert instance.get_run_by_id(first.run_id).status == dg.DagsterRunStatus.STARTING
        start_daemon()
        (second,) = wait_for(lambda: instance.get_runs(filters=SUCCEEDED), 90, "the second attempt")
        assert second.parent_run_id == first.run_id
        assert instance.get_run_by_id(first.run_id).status == dg.DagsterRunStatus.FAILURE
