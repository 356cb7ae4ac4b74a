"""Registers a model of any kind from a file that declares it, or from a folder of `cellassets model get`.

Tables of profiles are registered by `profiles.registering`.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ConfigDict
from upath import UPath

from cellassets.configuration import Parameters, load_yaml
from cellassets.encoders.container.declaration import ContainerDeclaration
from cellassets.encoders.container.registering import KIND as CONTAINER
from cellassets.encoders.container.registering import register_container, write_model_folder
from cellassets.encoders.getting import README
from cellassets.encoders.kinds import ENCODER_KINDS
from cellassets.encoders.loading import load_encoder
from cellassets.errors import CellAssetsError, ConfigError, EncoderError, OutOfMemory
from cellassets.fingerprint import check_model_name
from cellassets.profiles.model_folder import KIND as PROFILES
from cellassets.registry import ModelEntry, Registry
from cellassets.registry.uploading import model_files
from cellassets.training.memory import is_about_memory
from cellassets.training.spec import CLASSIFIER_NAME, SPEC_NAME

if TYPE_CHECKING:
    from cellassets.encoders.network import NetworkEncoder

N_TRIED = 3
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

    link = next((path for path in sorted(folder.rglob("*")) if path.is_symlink()), None)
    if link is not None:
        message = f"{link}: is a link; expected the files themselves: a link can lead to any file of this machine"
        raise ConfigError(message)
    if not (folder / SPEC_NAME).is_file():
        message = f"{folder}: no {SPEC_NAME}; expected a folder of `cellassets model get`, or a YAML file"
        raise ConfigError(message)
    try:
        described = json.loads((folder / SPEC_NAME).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        message = f"{folder / SPEC_NAME}: not JSON that can be read ({error}); get the folder again"
        raise ConfigError(message) from error
    kind = described.get("kind") if isinstance(described, dict) else None
    if kind == CONTAINER or not isinstance(kind, str) or kind not in ENCODER_KINDS:
        message = f"{folder}: a folder of the kind {kind!r} cannot be registered; register its YAML file"
        raise EncoderError(message)
    name = check_model_name(folder.absolute().name)
    try:
        _try_out(folder)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, CellAssetsError) or not is_about_memory(error):
            raise
        message = f"{folder}: the model needs more memory than there is ({error}); check the sizes in {SPEC_NAME}"
        raise OutOfMemory(message) from error
    return {"kind": kind, "name": name}


def _try_out(folder: Path) -> None:
    """Opens the encoder in a folder; a network also embeds made-up images."""
    from cellassets.encoders.elsewhere.encoder import ElsewhereEncoder
    from cellassets.encoders.elsewhere.trial import trial_dim
    from cellassets.encoders.network import NetworkEncoder

    encoder = load_encoder(folder)
    try:
        if isinstance(encoder, ElsewhereEncoder):
            trial_dim(encoder)
        elif isinstance(encoder, NetworkEncoder):
            _check_finite(encoder)
            if (folder / CLASSIFIER_NAME).is_file():
                _check_classifier(folder, encoder.spec.embedding_dim)
    except EncoderError as error:
        message = f"{folder}: {error}"
        raise EncoderError(message) from error
    finally:
        encoder.close()


def _check_finite(encoder: "NetworkEncoder") -> None:
    """Refuses a network whose vectors of made-up sites are not numbers; its weights may be damaged."""
    side = encoder.spec.preprocessing.centre_crop_px or encoder.spec.trained_px
    shape = (N_TRIED, encoder.n_channels, side, side)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    mean, std = (np.full(shape[:2], value, dtype=np.float32) for value in (127.5, 74.0))
    if not np.isfinite(encoder.embed(images, mean, std)).all():
        message = f"its vectors for {N_TRIED} made-up sites are not finite: the weights are damaged, or diverged"
        raise EncoderError(message)


def _check_classifier(folder: Path, embedding_dim: int) -> None:
    """Refuses a classifier that is damaged or takes other vectors than those of the network."""
    from cellassets.training.classifier import load_classifier

    scores = load_classifier(folder).scores(np.zeros((1, embedding_dim), dtype=np.float32))
    if not np.isfinite(scores).all():
        message = f"{CLASSIFIER_NAME}: its scores are not finite: the file is damaged, or the training diverged"
        raise EncoderError(message)
