"""A Postgres server of one's own on loopback, for tests and for a stack without a cloud.

Postgres refuses to run as root; then it runs as the user `postgres`, which its package creates.
"""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PASSWORD_BYTES = 24
PID_NAME = "postmaster.pid"
ORPHANS_S = 30.0
# database -> the role that owns it, as docs/deploy.md asks for
DATABASES = {"cellassets": "cellassets", "dagster": "cellassets", "mlflow": "mlflow"}


class PostgresError(RuntimeError):
    """A program of Postgres failed, or cannot work here."""


def binaries() -> Path | None:
    """Returns the folder of Postgres' programs, the newest where there are several."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return installed[-1].parent if installed else None


@dataclass(frozen=True)
class Server:
    """A server with its data and its log in a folder; `folder` must be absolute, without symbolic links.

    Attributes:
        programs: folder of Postgres' programs.
        folder: where its data and its log are.
        port: of loopback.
        password: of the superuser `postgres`.
    """

    programs: Path
    folder: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """The database `postgres`, as its superuser."""
        return f"postgresql+psycopg2://postgres:{self.password}@127.0.0.1:{self.port}/postgres"

    @property
    def data(self) -> Path:
        """The databases."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.folder / "log"

    def create(self, *, networks: tuple[str, ...] = ()) -> None:
        """Creates the databases, unless they are there.

        Args:
            networks: further networks whose connections are accepted, such as that of a cluster's pods.

        Raises:
            PostgresError: the folder cannot be used, or `initdb` failed.
        """
        if self.data.is_dir():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        new, password = self.folder / "data.new", self.folder / "password"
        shutil.rmtree(new, ignore_errors=True)  # of a creation that was cut off
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            self._require_access()
        password.touch(mode=0o600)
        password.write_text(self.password)
        try:
            if os.geteuid() == 0:
                shutil.chown(password, "postgres", "postgres")
            options = ["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", f"--pwfile={password}"]
            self._run([str(self.programs / "initdb"), "-D", str(new), *options])
        finally:
            password.unlink()
        with (new / "pg_hba.conf").open("a") as stream:
            stream.writelines(f"host all all {network} scram-sha-256\n" for network in networks)
        new.rename(self.data)

    def start(self) -> None:
        """Starts the server and waits until it answers. What a crash left behind is repaired by Postgres.

        Raises:
            PostgresError: it does not come up; the log says why.
        """
        end = time.monotonic() + ORPHANS_S
        while self._living():  # processes of a server that was killed end by themselves
            if time.monotonic() > end:
                message = f"{self.data}: the processes {self._living()} work on it; stop that server first"
                raise PostgresError(message)
            time.sleep(0.1)
        # Postgres refuses to start when another process has the number in this file by now, as after a power cut
        (self.data / PID_NAME).unlink(missing_ok=True)
        options = f"-h 127.0.0.1 -p {self.port} -c unix_socket_directories="
        self._control("-l", str(self.log), "-o", options, "start")

    def is_running(self) -> bool:
        """Returns true if the server of this folder runs; needs Linux, where a number alone does not decide."""
        file = self.data / PID_NAME
        number = file.read_text().partition("\n")[0] if file.is_file() else ""
        return number.isdecimal() and int(number) in self._living()

    def _living(self) -> list[int]:
        """Returns the numbers of the processes of Postgres that work in this folder, by Linux' `/proc`."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or belongs to somebody else
                if (process / "cwd").readlink() == self.data:
                    found.append(int(process.name))
        return found

    def stop(self, mode: str = "fast") -> None:
        """Stops the server; `immediate` breaks off what it does, as a crash would."""
        self._control("-m", mode, "stop")

    def restart(self) -> None:
        """Breaks all connections and starts the server again."""
        self._control("-l", str(self.log), "-m", "immediate", "restart")

    def make_databases(self, passwords: Mapping[str, str]) -> None:
        """Creates the roles and the databases of a deployment, those that are missing.

        Args:
            passwords: of the roles that own `DATABASES`.
        """
        from sqlalchemy import create_engine

        engine = create_engine(self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            roles = set(connection.exec_driver_sql("SELECT rolname FROM pg_roles").scalars())
            databases = set(connection.exec_driver_sql("SELECT datname FROM pg_database").scalars())
            for role in passwords.keys() - roles:
                connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN PASSWORD '{passwords[role]}'")
            for database in DATABASES.keys() - databases:
                connection.exec_driver_sql(f"CREATE DATABASE {database} OWNER {DATABASES[database]}")
        engine.dispose()

    @property
    def _control_command(self) -> list[str]:
        return [str(self.programs / "pg_ctl"), "-D", str(self.data), "-w"]

    def _control(self, *arguments: str) -> None:
        self._run([*self._control_command, *arguments])

    def _run(self, command: list[str]) -> None:
        done = self._try(command)
        if done.returncode:
            message = f"{' '.join(command)}: {done.stdout}{done.stderr}"
            raise PostgresError(message)

    def _try(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        return subprocess.run([*as_user, *command], cwd="/", capture_output=True, text=True, check=False)

    def _require_access(self) -> None:
        if self._try(["test", "-w", str(self.folder)]).returncode:
            message = (
                f"{self.folder}: the user postgres, as which Postgres runs here since you are root, cannot enter it; "
                "choose a folder whose parents it may enter, or start as another user"
            )
            raise PostgresError(message)


@contextmanager
def private_postgres(programs: Path, *, networks: tuple[str, ...] = ()) -> Iterator[Server]:
    """Yields a new server on loopback; its data are removed at the end.

    Args:
        programs: folder of Postgres' programs.
        networks: further networks whose connections it accepts, such as that of a cluster's pods.
    """
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    server = Server(programs, folder, free_port(), secrets.token_hex(PASSWORD_BYTES))
    try:
        server.create(networks=networks)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Returns a port of loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
