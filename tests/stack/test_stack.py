"""The production-like stack of this machine: the whole line with runs at the same time, and a crash of everything.

The stack is started, used and stopped by the commands that people use. In the middle of the work every process of it is
killed, as by a power cut; the next `up` must go on from there.
"""

import json
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen

REPOSITORY = Path(__file__).parents[2]
EXPERIMENTS = ("HUVEC-1", "HUVEC-2")
RECIPES = {"intensity": ["intensity"], "shape": ["sizeshape"]}
MODELS = {f"{name}.v1" for name in RECIPES}
ONCE = ("raw_plates", "plate_store", "plate_quality", "checkpoint", "site_embeddings")  # made once from these inputs
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
LINE_S = 1500.0  # on a machine that others use
pytestmark = [
    pytest.mark.slow,
    pytest.mark.postgres,
    pytest.mark.timeout(3600),
    pytest.mark.usefixtures("postgres_programs"),
]


@dataclass(frozen=True)
class UpStack:
    """A stack in a folder, as a person at a terminal sees it."""

    folder: Path

    def call(self, command: str, *arguments: str, status: int = 0) -> str:
        """Returns what a command of scripts/stack.py prints."""
        script = [sys.executable, "scripts/stack.py", command, "--folder", str(self.folder), *arguments]
        done = subprocess.run(script, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == status, f"{shlex.join(script)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def environment(self) -> dict[str, str]:
        """The variables that `eval "$(stack.py env)"` sets."""
        words = (line.removeprefix("export ") for line in self.call("env").splitlines())
        return dict("".join(shlex.split(word)).split("=", 1) for word in words)

    def cellassets(self, *arguments: str) -> Any:
        """Returns what `cellassets ... --json` prints in a terminal with these variables."""
        command = [str(Path(sys.executable).with_name("cellassets")), *arguments, "--json"]
        environment = {**os.environ, **self.environment()}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def select(self, database: str, statement: str) -> list[tuple]:
        """Returns the rows of a statement over one of the databases."""
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        found = self.environment()
        place = f"{found['PGUSER']}:{found['PGPASSWORD']}@{found['PGHOST']}:{found['PGPORT']}/{database}"
        with create_engine(f"postgresql+psycopg2://{place}", poolclass=NullPool).connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement)]

    def objects(self, prefix: str, bucket: str = "cellassets") -> list[str]:
        """Returns the names of the objects in a bucket, below a prefix."""
        place = f"{self.environment()['STORAGE_EMULATOR_HOST']}/storage/v1/b/{bucket}/o?prefix={quote(prefix)}"
        with urllib.request.urlopen(place, timeout=60) as answer:
            return [found["name"] for found in json.loads(answer.read()).get("items", [])]

    def statuses(self) -> Counter:
        """Returns the number of runs by status."""
        return Counter(dict(self.select("dagster", "SELECT status, count(*) FROM runs GROUP BY status")))

    def wait(self, what: str, found: Callable[[], Any]) -> Any:
        """Returns the first true answer; fails with the state of the work when the time is over."""
        end = time.monotonic() + LINE_S
        while time.monotonic() < end:
            answer = found()
            if answer:
                return answer
            time.sleep(1.0)
        pytest.fail(f"after {LINE_S:.0f} s: {what}\n{self.statuses()}\n{self.cellassets('work', 'list')}")

    def processes(self) -> list[int]:
        """Returns the numbers of all processes of the stack: those with its mark, those of Postgres, and its runs."""
        marks = [f"CELLASSETS_STACK={self.folder}".encode(), f"CELLASSETS_WORK={self.folder}".encode()]
        found = []
        for place in Path("/proc").iterdir():
            if place.name.isdecimal():
                with suppress(OSError):
                    command, variables = ((place / name).read_bytes() for name in ("cmdline", "environ"))
                    is_postgres = f"{self.folder}/postgres/data".encode() in command
                    if is_postgres or any(mark in variables for mark in marks):
                        found.append(int(place.name))
        return found


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Path:
    """Settings with two models that need no training."""
    folder = tmp_path_factory.mktemp("configs")
    files = {
        **{
            f"recipes/{name}.yaml": {"kind": "classical", "parameters": {"families": RECIPES[name]}} for name in RECIPES
        },
        **{f"benchmarks/{name}.yaml": {"n_permutations": 99} for name in BENCHMARKS},
        "hits.yaml": {"n_permutations": 99, "n_dose_permutations": 99},
        "policy.yaml": {},
        "mapping.yaml": {},
    }
    for name, values in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(values))
    return folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the user of Postgres can enter, which pytest's are not."""
    made = Path(tempfile.mkdtemp(prefix="stack-"))
    yield made
    UpStack(made).call("down")
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def screen(tmp_path_factory) -> Path:
    """A landing zone with two experiments."""
    folder = tmp_path_factory.mktemp("screen")
    write_screen(tiny_design(cell_types=[{"name": "HUVEC", "n_experiments": 2}], image_size=64), folder)
    return folder


@pytest.fixture(scope="module")
def stack(settings, screen) -> Iterator[UpStack]:
    """A stack on which a screen has landed; everything was killed when two runs were at work, and started again."""
    found = UpStack(Path(tempfile.mkdtemp(prefix="stack-")))
    try:
        found.call("up", "--configs", str(settings))
        assert found.call("land", str(screen)).split() == [f"gs://cellassets/landing/{name}" for name in EXPERIMENTS]
        found.wait("two runs are at work, and none is about to start", lambda: is_at_work(found))
        crash(found)
        assert found.call("status", status=1).count(" down ") == 6
        found.call("up")
        found.wait("every model has a report", lambda: reported(found) == MODELS)
        found.wait("nothing is missing", lambda: is_at_rest(found) and not found.cellassets("work", "list"))
        yield found
    finally:
        found.call("down")
        left = found.processes()
        shutil.rmtree(found.folder)
    assert not left


def is_at_work(stack: UpStack) -> bool:
    """Whether two runs have started; a run whose process has not yet started would be given three minutes to."""
    found = stack.statuses()
    return found["STARTED"] > 1 and not found["STARTING"] + found["NOT_STARTED"]


def is_at_rest(stack: UpStack) -> bool:
    return set(stack.statuses()) <= set(ENDED)


def reported(stack: UpStack) -> set[str]:
    """The models with a published report."""
    return {name.split("/")[3] for name in stack.objects("lake/records/model_report/")}


def crash(stack: UpStack) -> None:
    """Kills every process of a stack at once."""
    found = stack.processes()
    assert len(found) > 8, "six servers, and two runs"
    for number in found:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    end = time.monotonic() + 30
    while stack.processes() and time.monotonic() < end:  # Postgres' own end when their server is gone
        time.sleep(0.1)
    assert not stack.processes()


@pytest.mark.long
def test_runs_were_at_work_at_the_same_time(stack):
    runs = stack.select("dagster", "SELECT start_time, end_time FROM runs WHERE status = 'SUCCESS'")
    assert all(start < end for start, end in runs)
    together = [min(one[1], other[1]) - max(one[0], other[0]) for one, other in combinations(runs, 2)]
    assert max(together) > 1.0, f"no two of {len(runs)} runs were at work at the same time"


@pytest.mark.long
def test_every_partition_is_published_exactly_once(stack):
    found = Counter(name.split("/")[2] for name in stack.objects("lake/records/"))
    expected = {"raw_plates": 2, "plate_store": 2, "plate_quality": 2, "checkpoint": 2, "site_embeddings": 4}
    assert {name: found[name] for name in expected} == expected
    attempts = stack.select("cellassets", "SELECT asset, experiment, model, recipe, outcome FROM attempts")
    made = Counter(attempt for attempt in attempts if attempt[0] in ONCE and attempt[-1] == "made")
    assert [attempt for attempt, number in made.items() if number > 1] == []


@pytest.mark.long
def test_no_run_is_stuck_or_given_up(stack):
    retried = stack.select("dagster", "SELECT count(*) FROM run_tags WHERE key = 'dagster/parent_run_id'")
    assert retried[0][0] >= 2, "the runs that were killed were started again"
    assert is_at_rest(stack)
    stack.wait(
        "everything is done", lambda: {row["n_total"] - row["n_done"] for row in stack.cellassets("status")} == {0}
    )


@pytest.mark.long
def test_models_are_registered_by_the_server_with_their_files_in_the_bucket(stack):
    place = f"{stack.environment()['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/model-versions/search"
    with urllib.request.urlopen(place, timeout=60) as answer:
        versions = json.loads(answer.read())["model_versions"]
    assert {f"{version['name']}.v{version['version']}" for version in versions} == MODELS
    assert all(version["source"].startswith(("mlflow-artifacts:/", "models:/")) for version in versions)
    files = stack.objects("models/")
    assert sum(name.endswith("encoder.json") for name in files) == len(RECIPES)


@pytest.mark.long
def test_landed_images_artefacts_and_logs_of_runs_are_in_the_buckets(stack, screen):
    landed = {f"landing/{path.relative_to(screen)}" for path in screen.rglob("*") if path.is_file()}
    assert set(stack.objects("landing/")) == landed
    assert [name for name in stack.objects("lake/data/model_report/") if name.endswith("report.html")]
    logs = stack.objects("dagster/", bucket="cellassets-logs")
    ended = {row[0] for row in stack.select("dagster", "SELECT run_id FROM runs WHERE status = 'SUCCESS'")}
    assert {name.split("/")[2] for name in logs} >= ended
    assert not [path for path in stack.folder.rglob("*") if path.name in ("lake", "landing", "records")]


@pytest.mark.long
def test_the_environment_is_that_of_production(stack):
    found = stack.environment()
    manifest = yaml.safe_load((REPOSITORY / "deploy/kustomize/base/environment.yaml").read_text())
    assert manifest["data"].keys() <= found.keys()
    assert not [value for value in found.values() if "BUCKET" in value or "cellassets-mlflow" in value]
    instance = yaml.safe_load(Path(found["DAGSTER_HOME"], "dagster.yaml").read_text())
    production = yaml.safe_load((REPOSITORY / "deploy/kustomize/base/dagster.yaml").read_text())
    assert instance.keys() == production.keys()
    same = ("storage", "run_coordinator", "run_retries", "sensors", "backfills", "retention", "telemetry")
    assert {name: instance[name] for name in same} == {name: production[name] for name in same}


@pytest.mark.long
def test_up_again_says_so_and_starts_nothing(stack):
    before = {path.name: path.read_text() for path in stack.folder.glob("servers/*.pid")}
    assert "up already" in stack.call("up")
    assert {path.name: path.read_text() for path in stack.folder.glob("servers/*.pid")} == before
    assert "`down` first" in stack.call("up", "--port", "webserver=1", status=1)


@pytest.mark.long
def test_passwords_are_for_the_owner_alone_and_servers_listen_on_loopback(stack):
    assert stat.S_IMODE((stack.folder / "stack.yaml").stat().st_mode) == 0o600
    ports = yaml.safe_load((stack.folder / "stack.yaml").read_text())["ports"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("10.255.255.255", 9))  # sends nothing: asks for this machine's own address
        address = probe.getsockname()[0]
    for port in ports.values():
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect((address, port))


@pytest.mark.long
def test_a_server_that_does_not_come_up_is_named_and_the_others_are_stopped(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = UpStack(folder).call("up", "--port", f"objects={taken.getsockname()[1]}", status=1)
    assert "objects does not come up" in said
    assert "Address already in use" in said
    assert UpStack(folder).processes() == []
    assert UpStack(folder).call("status", status=1).count(" down ") == 6


def test_a_number_that_another_process_has_now_is_left_alone(folder):
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as other:
        try:
            (folder / "servers").mkdir()
            (folder / "servers" / "daemon.pid").write_text(str(other.pid))
            (folder / "stack.yaml").write_text(
                yaml.safe_dump({"ports": {"postgres": 1}, "passwords": {"postgres": ""}})
            )
            assert UpStack(folder).call("status", status=1).count(" down") == 6
            UpStack(folder).call("down")
            assert other.poll() is None
        finally:
            other.kill()


def test_wrong_commands_say_what_was_expected(tmp_path):
    assert "no stack here" in UpStack(tmp_path).call("down", status=1)
    assert "NAME=NUMBER" in UpStack(tmp_path).call("up", "--port", "ui=3000", status=2)
