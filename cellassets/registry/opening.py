"""How MLflow's client is opened, and what MLflow 3.17 needs for that.

- Two processes that open a new SQLite file at once must take turns, and a process that is killed while MLflow creates
  the tables must not leave half of them: MLflow could never open the file again.
- Opening for reading must not create a database.
- The artefact locations of a moved local deployment are corrected (`relocation.py`).
- Every request has a time limit, and is repeated while MLflow does not answer (`patience.py`).

What is stored in MLflow is decided in `runs.py` and `models.py`.
"""

import fcntl
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from cellassets.errors import RegistryError
from cellassets.registry.patience import PATIENCE_S, PatientClient, limit_requests, patiently
from cellassets.registry.relocation import relocate

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
HALF_MADE = "duplicate column name"
_opening = Lock()


@dataclass(frozen=True)
class Connection:
    """MLflow at one place. Nothing is contacted before the first call of a method.

    Attributes:
        tracking_uri: a database (`sqlite:///...`, `postgresql+psycopg2://...`) or an MLflow server (`http://...`).
        artifact_root: URL of the folder in which runs keep their files. Empty: the MLflow server decides.
    """

    tracking_uri: str
    artifact_root: str

    def client(self, patience_s: float = PATIENCE_S) -> "MlflowClient":
        """Returns MLflow's client. At a new database the first call creates the tables.

        Args:
            patience_s: how long a request is repeated while MLflow does not answer, in seconds.
        """
        opened = patiently(self._open, uri=self.tracking_uri, patience_s=patience_s)
        return cast("MlflowClient", PatientClient(opened, self.tracking_uri, patience_s))

    def reader(self) -> "MlflowClient | None":
        """Returns MLflow's client for reading, or None if the SQLite database does not exist yet. Creates nothing.

        It does not wait: a sensor asks again by itself.

        Raises:
            RegistryError: the folder that should hold the SQLite database does not exist.
        """
        database = _sqlite_path(self.tracking_uri)
        if database is None or database.is_file():
            return self.client(patience_s=0.0)
        if not database.parent.is_dir():
            message = (
                f"{database}: the folder {database.parent} does not exist, so there is no model registry; check the "
                "path of the deployment, or create the folder for a new deployment"
            )
            raise RegistryError(message)
        return None

    def _open(self) -> "MlflowClient":
        with _opening:
            return _open_client(self.tracking_uri, self.artifact_root)


def pages(search: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
    """Yields the results of all pages of an MLflow search."""
    token = None
    while True:
        page = search(*arguments, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def create_unless_there(create: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Creates an object in MLflow, or does nothing if another process created it first."""
    from mlflow.exceptions import MlflowException

    try:
        create(*arguments, **options)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


@lru_cache(maxsize=8)
def _open_client(tracking_uri: str, artifact_root: str) -> "MlflowClient":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # no usage data is sent to a third party
    limit_requests()
    with warnings.catch_warnings(), _exclusive(tracking_uri):
        warnings.simplefilter("ignore")  # MLflow's tables use what SQLAlchemy 2.1 calls deprecated
        from mlflow import MlflowClient

        # without this MLflow writes a line to stderr for every table that it creates
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        database = _sqlite_path(tracking_uri)
        if database is not None and not (database.is_file() and database.stat().st_size):
            _create(database)
        try:
            client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        except Exception as error:
            if database is None or HALF_MADE not in str(error):
                raise
            message = (
                f"{database}: a process was killed while it created or upgraded MLflow's tables, and MLflow cannot "
                f"open them ({HALF_MADE}): restore the file from a backup; or remove it if no model was registered yet"
            )
            raise RegistryError(message) from error
        if database is not None:
            relocate(database, artifact_root)
        return client


def _create(database: Path) -> None:
    """Lets MLflow create its tables in a file of another name, which gets the name of the database when it is complete.

    MLflow takes seconds for it, in dozens of steps. The caller has the lock.
    """
    from mlflow import MlflowClient

    for leftover in database.parent.glob(f".{database.name}.new-*"):  # of a process that was killed here
        leftover.unlink()
    new = database.with_name(f".{database.name}.new-{uuid4().hex}")  # MLflow keeps what it opened once by its name
    client = MlflowClient(tracking_uri=f"{SQLITE}{new}", registry_uri=f"{SQLITE}{new}")
    client._tracking_client.store.engine.dispose()  # noqa: SLF001  nothing public closes the file
    new.rename(database)


@contextmanager
def _exclusive(tracking_uri: str) -> Iterator[None]:
    """Lets one process at a time open a SQLite database.

    MLflow 3.17 has a lock of its own for creating tables. Two processes can still migrate a new file at the same time,
    and one of them fails with 'duplicate column name'.
    """
    database = _sqlite_path(tracking_uri)
    if database is None:
        yield
        return
    path = database.with_name(f"{database.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # released when the file is closed, also if the process is killed
        yield


def _sqlite_path(tracking_uri: str) -> Path | None:
    """Path of the SQLite file, or None for a server or another database."""
    return Path(tracking_uri.removeprefix(SQLITE)) if tracking_uri.startswith(SQLITE) else None
