"""Files of a model on their way into MLflow: which they are, and where they are stored.

The names are listed, and a copy of exactly these files is uploaded. So neither a file that a killed process left in the
folder nor the permissions of the originals get into the registry.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cellassets.storage.unwritable import explained

READABLE = 0o644  # pods with another user read the files too


def model_files(folder: Path) -> tuple[str, ...]:
    """Returns the names of the files below a model folder, sorted. Hidden files do not belong to a model."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return tuple(sorted(name.as_posix() for name in found if not any(part.startswith(".") for part in name.parts)))


@contextmanager
def staged(folder: Path, names: Sequence[str]) -> Iterator[str]:
    """Yields a folder with copies of some files, which everybody can read. It is removed when the block ends."""
    with tempfile.TemporaryDirectory() as scratch:
        with explained(f"{scratch}, a copy of {folder}"):
            for name in names:
                copy = Path(scratch) / "model" / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, copy)
                copy.chmod(READABLE)
        yield str(Path(scratch) / "model")


def upload(folder: Path, names: Sequence[str], uri: str, *, tracking_uri: str) -> None:
    """Stores files at a URI of MLflow, over those that are there."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with staged(folder, names) as files, explained(uri):
        get_artifact_repository(uri, tracking_uri=tracking_uri).log_artifacts(files)
