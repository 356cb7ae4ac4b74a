"""Dagster's processes on one machine, set up as in the cluster: Postgres, code location, webserver, daemons.

The settings are those of `deploy/kustomize/base`; runs are processes here instead of pods, and two of them
run at once.
"""

import importlib.util
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import sqlalchemy as sa
import yaml

from cellassets.storage.deployment import Deployment

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy" / "kustomize" / "base"
LIMITS = ("DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS", "DAGSTER_ASSET_BACKFILL_RUN_CHUNK_SIZE")
START_S, STOP_S = 120.0, 20.0
MAX_RUNS = 2


def module_at(path: str) -> ModuleType:
    """Returns a module of the repository that is in no package.

    Args:
        path: its file, from the root of the repository.
    """
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / path)
    if spec is None or spec.loader is None:
        message = f"{path} is missing; run this from a checkout of the repository"
        raise SystemExit(message)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look for their module
    spec.loader.exec_module(module)
    return module


@contextmanager
def databases(*names: str) -> Iterator[list[str]]:
    """Yields the URLs of new databases on a private Postgres server."""
    server = module_at("scripts/postgres_server.py")
    programs = server.binaries()
    if programs is None:
        message = "no Postgres here; install it (Debian: apt-get install postgresql)"
        raise SystemExit(message)
    with server.private_postgres(programs) as running:
        engine = sa.create_engine(running.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for name in names:
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        yield [running.url.rpartition("/")[0] + f"/{name}" for name in names]


def write_instance(dagster_home: Path, url: str) -> None:
    """Writes `dagster.yaml`: the cluster's settings, with this machine's database, launcher and folders."""
    settings = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    settings["storage"] = {"postgres": {"postgres_url": url}}
    settings["run_launcher"] = {"module": "resources.local_launcher", "class": "LocalRunLauncher"}
    settings["concurrency"]["runs"]["max_concurrent_runs"] = MAX_RUNS
    settings["local_artifact_storage"]["config"]["base_dir"] = str(dagster_home)
    del settings["compute_logs"]
    dagster_home.mkdir(parents=True, exist_ok=True)
    (dagster_home / "dagster.yaml").write_text(yaml.safe_dump(settings))


@dataclass(frozen=True)
class Services:
    """What runs: the address of the UI, and how further daemons are started."""

    url: str
    workspace: Path
    environment: Mapping[str, str]
    logs: Path
    pids: Sequence[int]

    def cpu_s(self) -> float:
        """Returns the processor seconds that code location and webserver have used."""
        return sum(sum(int(field) for field in _fields(pid)[11:13]) for pid in self.pids) / os.sysconf("SC_CLK_TCK")

    @contextmanager
    def daemons(self, number: int) -> Iterator[None]:
        """Runs some daemons. Each evaluates every sensor; the second one is one too many, as by mistake."""
        with ExitStack() as stack:
            for index in range(number):
                arguments = ["dagster-daemon", "run", "-w", str(self.workspace)]
                stack.enter_context(process(arguments, self.environment, self.logs / f"daemon_{index}.log"))
            yield


@contextmanager
def running(deployment: Deployment, home: Path, dagster_home: Path) -> Iterator[Services]:
    """Yields the services of a deployment, with code location and webserver started, and no daemon yet."""
    port = module_at("scripts/postgres_server.py").free_port
    code_port, web_port = port(), port()
    workspace = home / "workspace.yaml"
    server = {"host": "127.0.0.1", "port": code_port, "location_name": "cellassets"}
    workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
    given = yaml.safe_load((DEPLOY / "environment.yaml").read_text())["data"]
    environment = {
        **os.environ, **deployment.environment(), **{name: given[name] for name in LIMITS},
        "DAGSTER_HOME": str(dagster_home), "CELLASSETS_HOME": str(home),
        "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    code = ["dagster", "api", "grpc", "--module-name", "cellassets.definitions", "--host", "127.0.0.1"]
    code += ["--port", str(code_port), "--inject-env-vars-from-instance"]
    web = ["dagster-webserver", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(web_port)]
    url = f"http://127.0.0.1:{web_port}"
    with process(code, environment, home / "code.log") as one, process(web, environment, home / "web.log") as two:
        wait_for(f"{url}/server_info", home / "web.log")
        yield Services(url, workspace, environment, home, (one, two))


@contextmanager
def process(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[int]:
    """Yields the process number of a program of this Python's environment, which runs until the block ends."""
    program = str(Path(sys.executable).with_name(arguments[0]))
    with (
        log.open("w") as stream,
        subprocess.Popen(
            [program, *arguments[1:]], env=environment, cwd=REPOSITORY, stdout=stream, stderr=stream
        ) as started,
    ):
        try:
            yield started.pid
        finally:
            started.terminate()
            try:
                started.wait(STOP_S)
            except subprocess.TimeoutExpired:
                started.kill()


def wait_for(url: str, log: Path) -> None:
    """Returns as soon as an address answers."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310  the address of a server that this script started
                return
        except OSError as error:
            if time.monotonic() > deadline:
                message = (
                    f"{url} does not answer within {START_S:.0f} s: {error}; {log} ends with {log.read_text()[-2000:]}"
                )
                raise SystemExit(message) from error
            time.sleep(0.2)


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
