"""What one registered model version is: its key, its fingerprint, its tags. MLflow is not imported here.

A model folder holds `encoder.json` (the kind of encoder, its preprocessing, its embedding width) and, where the kind
has weights, `weights.safetensors`. `cellassets.encoders.loading` turns a folder into an encoder.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cellassets.configuration import Parameters
from cellassets.errors import RegistryError
from cellassets.fingerprint import check_partition_key, fingerprint
from cellassets.registry.uploading import model_files

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

SCORE_TAG = "score "  # begins the names of tags with scores: `score HUVEC/known_relationships`


class ModelEntry(Parameters):
    """One registered model version.

    Attributes:
        key: `<name>.v<version>`; the partition key of the model in all assets.
        name: registered model.
        version: version number, counted from 1 per name.
        kind: kind of encoder, or 'unknown'.
        fingerprint: fingerprint of the model's files.
        aliases: aliases of this version, such as 'champion'.
        created_at_ms: registration time, milliseconds since 1970.
        tags: all tags of the version.
        run_id: MLflow run that made the files, where there is one.
    """

    key: str
    name: str
    version: int
    kind: str
    fingerprint: str
    aliases: tuple[str, ...]
    created_at_ms: int
    tags: dict[str, str]
    run_id: str | None


def model_key(name: str, version: int) -> str:
    """Returns the key of a model version: `<name>.v<version>`.

    Raises:
        PartitionKeyError: the name contains characters that a partition key cannot have.
    """
    return check_partition_key(f"{name}.v{version}", "model")


def parse_model_key(key: str) -> tuple[str, int]:
    """Returns name and version of a model key.

    Raises:
        RegistryError: the key does not have the form `<name>.v<version>`.
    """
    name, separator, version = key.rpartition(".v")
    if not separator or not name or not version.isdecimal():
        message = f"model key {key!r}: expected <name>.v<version>, for example resnet_ce.v1"
        raise RegistryError(message)
    return name, int(version)


def folder_fingerprint(folder: Path, names: Sequence[str] | None = None) -> str:
    """Returns the fingerprint of a model folder, computed from the names and contents of its files.

    Args:
        folder: a model folder.
        names: its files, relative to the folder; None for all files that are not hidden.
    """
    files = model_files(folder) if names is None else sorted(names)
    return fingerprint({name: _sha256(folder / name) for name in files})


def entry_of(version: "ModelVersion", aliases: list[str]) -> ModelEntry:
    """Returns the entry of an MLflow model version.

    A version that was registered without a fingerprint gets one from its name, number, source and creation time.

    Raises:
        PartitionKeyError: the name contains characters that a partition key cannot have.
    """
    tags = dict(version.tags)
    number, created_at_ms = int(version.version), int(version.creation_timestamp)
    unnamed = {"name": version.name, "version": number, "source": version.source, "created_at_ms": created_at_ms}
    return ModelEntry(
        key=model_key(version.name, number),
        name=version.name,
        version=number,
        kind=tags.get("kind", "unknown"),
        fingerprint=tags.get("fingerprint") or fingerprint(unnamed),
        aliases=tuple(sorted(aliases)),
        created_at_ms=created_at_ms,
        tags=tags,
        run_id=version.run_id or None,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
