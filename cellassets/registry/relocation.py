"""Corrects the absolute artefact locations in the SQLite database of a local deployment that was moved or copied.

MLflow stores an absolute URI for every experiment, run and model version. When the folder that holds both the database
and the files is moved, these URIs point to the old place. They are rewritten here, once, when the database is opened at
its new place; after that MLflow's own UI works too. The `source` of a model version stays: it records where the model
was registered and is part of the fingerprint of models that have no fingerprint of their own.

Source: tables of MLflow 3.17, mlflow/store/tracking/dbmodels/models.py and mlflow/store/model_registry/dbmodels/.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from cellassets.errors import RegistryError

EXPERIMENT_NAME = "cellassets"
TIMEOUT_S = 60
N_PARTS_BELOW_ROOT = 3  # run id, 'artifacts', 'model'
LOCATIONS = (("runs", "artifact_uri"), ("model_versions", "storage_location"), ("logged_models", "artifact_location"))


def relocate(database: Path, artifact_root: str) -> bool:
    """Returns whether the database had another artefact root than `artifact_root`, after correcting it.

    New runs keep their files in `artifact_root` from then on. The location of an existing run or model version is
    rewritten unless its files exist at the old place only: then somebody chose a new artefact root on purpose, and the
    old files are still read where they are.

    Args:
        database: SQLite file with MLflow's tables.
        artifact_root: where this deployment keeps the files of runs. Only a `file:` URI is compared.

    Raises:
        RegistryError: the database cannot be written.
    """
    if local_path(artifact_root) is None:
        return False
    try:
        with closing(sqlite3.connect(database, timeout=TIMEOUT_S)) as connection, connection:
            recorded = _recorded_root(connection)
            if recorded is None or _is_same_place(recorded, artifact_root):
                return False
            for table, column in LOCATIONS:
                _rewrite(connection, table, column, (recorded, artifact_root))
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE name = ?", (artifact_root, EXPERIMENT_NAME)
            )
    except sqlite3.OperationalError as error:
        message = (
            f"{database}: the deployment was moved, and its MLflow database cannot be updated to the new place "
            f"{artifact_root} ({error}); make the file writable and try again"
        )
        raise RegistryError(message) from error
    return True


def local_path(uri: str) -> Path | None:
    """Returns the path that a `file:` URI or an absolute path names, or None for any other URI."""
    parsed = urlparse(uri)
    if parsed.scheme not in ("", "file") or not parsed.path:
        return None
    return Path(url2pathname(parsed.path))


def place_of(uri: str, artifact_root: str) -> Path | None:
    """Returns the local folder of a model's files, or None if they are not on this machine's file system.

    If the folder in the URI does not exist, it is expected at the same place below the artefact root: MLflow still
    names the old place after a deployment was moved whose database is not corrected here (a server, Postgres).

    Args:
        uri: what MLflow says, `<artefact root>/<run id>/artifacts/model`.
        artifact_root: where this deployment keeps the files of runs.
    """
    named, root = local_path(uri), local_path(artifact_root)
    if named is None or root is None or named.is_dir() or is_below(uri, artifact_root):
        return named
    return root.joinpath(*named.parts[-N_PARTS_BELOW_ROOT:])


def is_below(uri: str, artifact_root: str) -> bool:
    """Returns whether a place is below the artefact root. Places that are not local folders are not compared."""
    named, root = local_path(uri), local_path(artifact_root)
    return named is None or root is None or named.resolve().is_relative_to(root.resolve())


def check_root(location: str, artifact_root: str) -> None:
    """Checks that MLflow keeps the files of new runs where the deployment says. Only local folders are compared.

    Raises:
        RegistryError: it keeps them elsewhere.
    """
    if local_path(location) and local_path(artifact_root) and not _is_same_place(location, artifact_root):
        message = (
            f"MLflow's experiment {EXPERIMENT_NAME!r} keeps its files in {location}, and this deployment in "
            f"{artifact_root}: was it moved? Nothing is written to the old place. Correct artifact_location of the "
            "experiment and artifact_uri of its runs in MLflow's database, or set CELLASSETS_MODELS to the old place"
        )
        raise RegistryError(message)


def _recorded_root(connection: sqlite3.Connection) -> str | None:
    """The artefact root in the database; None for a new database or for one that keeps its files elsewhere."""
    row = connection.execute("SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT_NAME,)).fetchone()
    return row[0] if row and row[0] and local_path(row[0]) is not None else None


def _is_same_place(recorded: str, artifact_root: str) -> bool:
    """True for the same folder, also if one of the two paths leads there through a symbolic link."""
    if recorded == artifact_root:
        return True
    old, new = local_path(recorded), local_path(artifact_root)
    return old is not None and new is not None and old.resolve() == new.resolve()


def _rewrite(connection: sqlite3.Connection, table: str, column: str, roots: tuple[str, str]) -> None:
    old_root, new_root = roots
    query = f"SELECT rowid, {column} FROM {table} WHERE {column} LIKE ? || '/%'"  # noqa: S608
    for row_id, old in connection.execute(query, (old_root,)).fetchall():
        new = new_root.rstrip("/") + old.removeprefix(old_root)
        if old.startswith(f"{old_root}/") and (_exists(new) or not _exists(old)):
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (new, row_id))  # noqa: S608


def _exists(uri: str) -> bool:
    path = local_path(uri)
    return path is not None and path.exists()
