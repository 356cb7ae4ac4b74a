"""Fixtures of the storage tests: databases for the catalogue, one of them a real Postgres."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PASSWORD_LENGTH = 24


def binaries() -> Path | None:
    """Returns the folder of Postgres' programs, the newest where there are several."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return installed[-1].parent if installed else None


@contextmanager
def private_postgres(programs: Path) -> Iterator[str]:
    """Yields the URL of the database of a new server on loopback; its data are removed at the end."""
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
        options = f"-h 127.0.0.1 -p {port} -k {folder}"
        run([*control, "-l", str(folder / "log"), "-o", options, "start"], folder)
        try:
            yield f"postgresql+psycopg2://tester:{password}@127.0.0.1:{port}/postgres"
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


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a Postgres server of this test session's own."""
    programs = binaries()
    if programs is None:
        reason = "no Postgres here: install it (Debian: apt-get install postgresql) to test the catalogue on it"
        assert "CI" not in os.environ, reason
        pytest.skip(reason)
    with private_postgres(programs) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request, tmp_path) -> str:
    """URL of an empty database: SQLite, then Postgres."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/lake/catalogue.db"
    url = request.getfixturevalue("postgres_url")
    schema = f"test_{secrets.token_hex(6)}"
    from sqlalchemy import create_engine

    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    engine.dispose()
    return f"{url}?options=-csearch_path%3D{schema}"
