"""The servers of a stack on one machine: how each is started, with which environment, and how it is seen to be up.

Commands, environment and Dagster's instance are those of deploy/kustomize/base, with the places of this machine;
deploy/stack has what differs. `stack.py` is the command line.
"""

import json
import os
import secrets
import socket
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from postgres_server import PASSWORD_BYTES, PostgresError, Server, binaries, free_port
from recorded_process import RecordedProcess, last_lines

REPOSITORY = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
BASE = REPOSITORY / "deploy" / "kustomize" / "base"
BUCKET, LOG_BUCKET = "cellassets", "cellassets-logs"
POSTGRES, DAEMON = "postgres", "daemon"
STEPS = ((POSTGRES,), ("objects", "mlflow", "code"), ("webserver", DAEMON))  # each starts when the one before answers
SERVERS = tuple(name for step in STEPS for name in step)
PORTS = SERVERS[:-1]
ROLES = ("cellassets", "mlflow")  # of the databases
SETTINGS_NAME = "stack.yaml"
UP_S, POLL_S = 240.0, 0.5


class StackError(RuntimeError):
    """A server does not come up, or a command cannot be carried out."""


@dataclass(frozen=True)
class Stack:
    """One stack. All that it keeps is in its folder; `settings` are its passwords, ports and the folder of settings."""

    folder: Path
    settings: dict[str, Any]

    @classmethod
    def at(cls, folder: Path) -> "Stack":
        """Returns the stack in a folder.

        Raises:
            StackError: there is none.
        """
        file = folder / SETTINGS_NAME
        if not file.is_file():
            message = f"{folder}: no stack here; `up` makes one"
            raise StackError(message)
        return cls(folder, _read(file))

    @classmethod
    def make(cls, folder: Path, *, configs: Path | None = None, ports: Mapping[str, int] | None = None) -> "Stack":
        """Returns the stack in a folder after making it, or after changing its ports or settings.

        A new stack gets passwords, and free ports where none are given.

        Raises:
            StackError: it is up, with other ports or settings.
        """
        kept = cls.at(folder).settings if (folder / SETTINGS_NAME).is_file() else {}
        settings = {
            "passwords": {role: secrets.token_hex(PASSWORD_BYTES) for role in (POSTGRES, *ROLES)},
            "configs": str(REPOSITORY / "configs"),
            **kept,
            "ports": {name: free_port() for name in PORTS} | kept.get("ports", {}) | dict(ports or {}),
        }
        if configs is not None:
            settings["configs"] = str(configs.absolute())
        stack = cls(folder, settings)
        if settings == kept:
            return stack
        if kept and any(cls(folder, kept).is_running(name) for name in SERVERS):
            message = f"{folder} is up with other ports or settings; `down` first, then `up` with the new ones"
            raise StackError(message)
        stack.process("").folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)  # if you are root, the user of Postgres passes through it
        new = folder / f"{SETTINGS_NAME}.new"
        new.touch(mode=0o600)
        new.write_text(yaml.safe_dump(settings))
        new.replace(folder / SETTINGS_NAME)
        return stack

    @property
    def ports(self) -> dict[str, int]:
        """Port of each server that listens."""
        ports: dict[str, int] = self.settings["ports"]
        return ports

    @cached_property
    def postgres(self) -> Server:
        """The database server.

        Raises:
            StackError: Postgres is not installed.
        """
        programs = binaries()
        if programs is None:
            message = "no Postgres here: install it (Debian: apt-get install postgresql)"
            raise StackError(message)
        return Server(programs, self.folder / POSTGRES, self.ports[POSTGRES], self.settings["passwords"][POSTGRES])

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance."""
        return self.folder / "dagster"

    def process(self, name: str) -> RecordedProcess:
        """The process of a server other than Postgres."""
        return RecordedProcess(name, self.folder / "servers")

    def is_running(self, name: str) -> bool:
        """Whether the process of a server is there."""
        return self.postgres.is_running() if name == POSTGRES else self.process(name).is_running()

    def log(self, name: str) -> Path:
        """The log of a server."""
        return self.postgres.log if name == POSTGRES else self.process(name).log

    def address(self, name: str) -> str:
        """The address of a server; empty for the daemon, which listens nowhere."""
        if name not in self.ports:
            return ""
        scheme = {POSTGRES: "postgresql", "code": "grpc"}.get(name, "http")
        return f"{scheme}://127.0.0.1:{self.ports[name]}"

    def environment(self) -> dict[str, str]:
        """Returns the variables of the deployment, as deploy/kustomize/base sets them for its pods."""
        return {
            **_manifest("environment", "ConfigMap")["data"],
            "CELLASSETS_LAKE": f"gs://{BUCKET}/lake",
            "CELLASSETS_LANDING": f"gs://{BUCKET}/landing",
            "CELLASSETS_WORK": str(self.folder / "work"),
            "CELLASSETS_CONFIGS": self.settings["configs"],
            "CELLASSETS_LOG_BUCKET": LOG_BUCKET,
            "CELLASSETS_CODE_HOST": "127.0.0.1",
            "CELLASSETS_UI_URL": self.address("webserver"),
            "MLFLOW_TRACKING_URI": self.address("mlflow"),
            "CELLASSETS_MLFLOW_URL": self.address("mlflow"),
            "DAGSTER_HOME": str(self.dagster_home),
            "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait do not spin: runs share the cores
            **self._servers("cellassets"),
        }

    def mlflow_environment(self) -> dict[str, str]:
        """Returns the variables of MLflow's server."""
        hosts = (f"{host}:{self.ports['mlflow']}" for host in ("127.0.0.1", "localhost"))
        return {
            **_manifest("mlflow", "ConfigMap")["data"],
            "MLFLOW_ARTIFACTS_DESTINATION": f"gs://{BUCKET}/models",
            "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(hosts),
            **self._servers("mlflow"),
        }

    def _servers(self, role: str) -> dict[str, str]:
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.ports[POSTGRES]),
            "PGPASSWORD": self.settings["passwords"][role],
            "STORAGE_EMULATOR_HOST": self.address("objects"),
            "NO_GCE_CHECK": "true",  # nothing looks for a metadata server
        }

    def command(self, name: str) -> list[str]:
        """Returns the command of a server: that of its pod, with the places of this machine."""
        if name == "objects":
            buckets = ["--bucket", BUCKET, "--bucket", LOG_BUCKET]
            script = str(REPOSITORY / "scripts" / "object_store.py")
            places = ["--port", str(self.ports[name]), "--folder", str(self.folder / "buckets")]
            return [sys.executable, script, *places, *buckets]
        program, *arguments = _manifest(name, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
        own = {
            "--host": "127.0.0.1",
            "--port": str(self.ports.get(name)),
            "--workspace": str(self.dagster_home / "workspace.yaml"),
        }
        here = [own.get(option, value) for option, value in zip([program, *arguments], arguments, strict=False)]
        return [str(PROGRAMS / program), *here]

    def write_instance(self) -> None:
        """Writes Dagster's instance and workspace from those of deploy/kustomize/base."""
        text = (REPOSITORY / "deploy" / "stack" / "dagster.yaml").read_text()
        instance = _read(BASE / "dagster.yaml") | yaml.safe_load(text.replace("FOLDER", str(self.folder)))
        workspace = _read(BASE / "workspace.yaml")
        workspace["load_from"][0]["grpc_server"]["port"] = self.ports["code"]
        self.dagster_home.mkdir(exist_ok=True)
        for name, content in (("dagster.yaml", instance), ("workspace.yaml", workspace)):
            (self.dagster_home / name).write_text(yaml.safe_dump(content, sort_keys=False))

    def start(self, names: Sequence[str]) -> None:
        """Starts servers at the same time, and waits until each answers.

        Raises:
            StackError: one does not; the message has the last lines of its log.
        """
        started = time.time()
        for name in names:
            self._launch(name)
        for name in names:
            self._wait(name, started)

    def _launch(self, name: str) -> None:
        if name != POSTGRES:
            own = self.mlflow_environment() if name == "mlflow" else self.environment()
            self.process(name).start(self.command(name), {**os.environ, **own}, cwd=REPOSITORY)
            return
        try:
            self.postgres.create()
            if not self.postgres.is_running():
                self.postgres.start()
        except PostgresError as error:
            raise self._failure(name, str(error)) from error
        self.postgres.make_databases({role: self.settings["passwords"][role] for role in ROLES})

    def _wait(self, name: str, started: float) -> None:
        while not self.answers(name, since=started):
            if not self.is_running(name):
                raise self._failure(name, "its process has ended")
            if time.time() > started + UP_S:
                raise self._failure(name, f"it does not answer after {UP_S:.0f} s")
            time.sleep(POLL_S)

    def _failure(self, name: str, reason: str) -> StackError:
        return StackError(
            f"{name} does not come up: {reason}\nThe end of {self.log(name)}:\n{last_lines(self.log(name))}"
        )

    def stop(self, name: str) -> None:
        """Stops a server, if it runs, with all processes that it has started."""
        if name != POSTGRES:
            self.process(name).stop()
        elif self.postgres.is_running():
            self.postgres.stop()

    def answers(self, name: str, *, since: float) -> bool:
        """Whether a server does its work.

        Args:
            name: the server.
            since: seconds since 1970; a daemon must have given a sign of life since then.
        """
        if name in ("webserver", DAEMON):
            return self._dagster_answers(name, since)
        if name in (POSTGRES, "code"):
            return _listens(self.ports[name])
        path = "/health" if name == "mlflow" else f"/storage/v1/b/{BUCKET}"
        return _fetch(self.address(name) + path) is not None

    def _dagster_answers(self, name: str, since: float) -> bool:
        query = """{ repositoriesOrError { __typename }
          instance { daemonHealth { allDaemonStatuses { required lastHeartbeatTime } } } }"""
        found = _fetch(f"{self.address('webserver')}/graphql", json.dumps({"query": query}).encode())
        data = (json.loads(found).get("data") if found else None) or {"repositoriesOrError": {"__typename": ""}}
        if data["repositoriesOrError"]["__typename"] != "RepositoryConnection":
            return False
        daemons = data["instance"]["daemonHealth"]["allDaemonStatuses"]
        beats = [daemon["lastHeartbeatTime"] or 0.0 for daemon in daemons if daemon["required"]]
        return name == "webserver" or min(beats) >= since


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def _manifest(name: str, kind: str) -> dict[str, Any]:
    """Returns the first object of a kind in a file of deploy/kustomize/base."""
    objects = yaml.safe_load_all((BASE / f"{name}.yaml").read_text())
    return next(found for found in objects if found["kind"] == kind)


def _listens(port: int) -> bool:
    """Whether a server listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _fetch(url: str, body: bytes | None = None) -> bytes | None:
    """Returns what a server of this machine answers; None if it does not, or with an error."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310  always http
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            content: bytes = answer.read()
            return content
    except OSError:
        return None
