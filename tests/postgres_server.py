"""A Postgres server of a test session's own, on loopback."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PASSWORD_LENGTH = 24


def binaries() -> Path | None:
    """Returns the folder of Postgres' programs, the newest where there are several."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return installed[-1].parent if installed else None


@dataclass(frozen=True)
class Server:
    """A running server: the URL of its database, its port, its folder, and how pg_ctl is called."""

    url: str
    port: int
    folder: Path
    control: list[str]

    def restart(self) -> None:
        """Breaks all connections and starts the server again."""
        run([*self.control, "-l", str(self.folder / "log"), "-m", "immediate", "restart"], self.folder)


@contextmanager
def private_postgres(programs: Path, *, networks: tuple[str, ...] = ()) -> Iterator[Server]:
    """Yields a new server on loopback; its data are removed at the end.

    Args:
        programs: folder of Postgres' programs.
        networks: further networks whose connections it accepts, such as that of a cluster's pods.
    """
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    password, port = secrets.token_hex(PASSWORD_LENGTH), free_port()
    (folder / "password").write_text(password)
    as_user: list[str] = []
    if os.geteuid() == 0:  # Postgres refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        shutil.chown(folder / "password", "postgres", "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data, control = folder / "data", [*as_user, str(programs / "pg_ctl"), "-D", str(folder / "data"), "-w"]
    try:
        create = [str(programs / "initdb"), "-D", str(data), "-U", "tester", "-A", "scram-sha-256", "-E", "UTF8"]
        run([*as_user, *create, f"--pwfile={folder / 'password'}"], folder)
        with (data / "pg_hba.conf").open("a") as stream:
            stream.writelines(f"host all all {network} scram-sha-256\n" for network in networks)
        options = f"-h 127.0.0.1 -p {port} -k {folder}"
        run([*control, "-l", str(folder / "log"), "-o", options, "start"], folder)
        try:
            yield Server(f"postgresql+psycopg2://tester:{password}@127.0.0.1:{port}/postgres", port, folder, control)
        finally:
            run([*control, "-m", "immediate", "stop"], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
