"""Registers a model of any kind from a file that declares it, or from a folder of `cellassets model get`.

Tables of profiles are registered by `profiles.registering`.
"""

import tempfile
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from upath import UPath

from cellassets.configuration import Parameters, load_yaml
from cellassets.encoders.container.declaration import ContainerDeclaration
from cellassets.encoders.container.registering import KIND as CONTAINER
from cellassets.encoders.container.registering import register_container, write_model_folder
from cellassets.encoders.getting import README
from cellassets.encoders.kinds import ENCODER_KINDS
from cellassets.encoders.loading import load_encoder
from cellassets.errors import ConfigError, EncoderError
from cellassets.fingerprint import check_model_name
from cellassets.profiles.model_folder import KIND as PROFILES
from cellassets.registry import ModelEntry, Registry
from cellassets.registry.uploading import model_files
from cellassets.training.spec import SPEC_NAME

DECLARED = ("network", "exported", "onnx", "huggingface", CONTAINER, PROFILES)


class DeclaredKind(Parameters):
    """What a declaration is read as before its kind is known."""

    model_config = ConfigDict(extra="allow")

    kind: str | None = None
    table: Any = None


def register(registry: Registry, path: Path) -> ModelEntry:
    """Returns the model version of a declaration or of a model folder, after registering it if it has none yet.

    Args:
        registry: where models are.
        path: YAML file, or a folder with `encoder.json`.

    Raises:
        ConfigError: the file is wrong, or a file that it names is missing.
        EncoderError: the model cannot embed images as declared.
        RegistryError: a file of the model folder is damaged.
    """
    if path.is_dir():
        kind = _checked_folder(path)["kind"]
        names = [name for name in model_files(path) if name != README]
        name = check_model_name(path.absolute().name)
        return registry.register(path, name=name, run_id=None, tags={"kind": kind}, names=names)
    kind = declared_kind(path)
    if kind == CONTAINER:
        return register_container(registry, path)
    from cellassets.encoders.elsewhere.registering import register_elsewhere

    return register_elsewhere(registry, path, kind)[0]


def check_model(path: Path) -> dict[str, Any]:
    """Returns what a declaration or a model folder has, after trying it as `register` does. Registers nothing.

    Raises:
        ConfigError, EncoderError, RegistryError: as `register`.
    """
    if path.is_dir():
        return _checked_folder(path)
    kind = declared_kind(path)
    if kind == CONTAINER:
        declared = load_yaml(UPath(path), ContainerDeclaration, name=path.stem)
        with tempfile.TemporaryDirectory() as scratch:
            write_model_folder(declared, path.parent, Path(scratch) / "model")
        return {"kind": kind, "name": declared.name, "embedding_dim": declared.embedding_dim}
    from cellassets.encoders.elsewhere.registering import tried

    with tried(path, kind) as found:
        return {"kind": kind, "name": found.name, "embedding_dim": found.spec.embedding_dim, "device": found.device}


def declared_kind(path: Path) -> str:
    """Returns the kind of a declaration. Without the key, a file with `table` is of profiles, others of a container.

    Raises:
        ConfigError: there is no such kind, or the file is no YAML.
    """
    declared = load_yaml(UPath(path), DeclaredKind)
    kind = declared.kind or (CONTAINER if declared.table is None else PROFILES)
    if kind not in DECLARED:
        message = f"{path}: kind {kind!r}; expected one of {', '.join(DECLARED)}"
        raise ConfigError(message)
    return kind


def _checked_folder(folder: Path) -> dict[str, Any]:
    """What a model folder has, after its encoder was loaded."""
    import json

    if not (folder / SPEC_NAME).is_file():
        message = f"{folder}: no {SPEC_NAME}; expected a folder of `cellassets model get`, or a YAML file"
        raise ConfigError(message)
    kind = json.loads((folder / SPEC_NAME).read_bytes()).get("kind")
    if kind == CONTAINER or kind not in ENCODER_KINDS:
        message = f"{folder}: a folder of the kind {kind!r} cannot be registered; register its YAML file"
        raise EncoderError(message)
    load_encoder(folder).close()
    return {"kind": kind, "name": folder.absolute().name}
