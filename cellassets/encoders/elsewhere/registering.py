"""Registers a model from elsewhere from the file that declares it: files are copied, tried out, and stored."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from upath import UPath

from cellassets.configuration import Parameters, load_yaml
from cellassets.encoders.elsewhere.declaration import (
    MAX_DIM,
    Declaration,
    ElsewhereSpec,
    ExportedDeclaration,
    HuggingFaceDeclaration,
    NetworkDeclaration,
    OnnxDeclaration,
)
from cellassets.encoders.elsewhere.encoder import ElsewhereEncoder
from cellassets.encoders.elsewhere.forward import CONFIG, GRAPH, HF_WEIGHTS, PROGRAM, WEIGHTS
from cellassets.encoders.elsewhere.opening import forward_of
from cellassets.encoders.elsewhere.trial import N_SITES, trial_dim
from cellassets.errors import ConfigError, EncoderError, OutOfMemory, RegistryError
from cellassets.registry import ModelEntry, Registry
from cellassets.training.memory import is_about_memory
from cellassets.training.spec import SPEC_NAME

DECLARATIONS: dict[str, type[Declaration]] = {
    "network": NetworkDeclaration,
    "exported": ExportedDeclaration,
    "onnx": OnnxDeclaration,
    "huggingface": HuggingFaceDeclaration,
}
OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".h5", ".json")
MAX_BYTES = 32 << 30  # of all files of a model


@dataclass(frozen=True)
class Tried:
    """A model that was tried out: its folder, its description, and where it computed."""

    name: str
    folder: Path
    spec: ElsewhereSpec
    device: str


def load_declaration(file: Path, kind: str) -> Declaration:
    """Returns the declaration in a YAML file; the name of the file is the model's unless it has the key `name`.

    Raises:
        ConfigError: the file is wrong.
    """
    model: type[Parameters] = DECLARATIONS[kind]
    return load_yaml(UPath(file), model, name=file.stem)  # type: ignore[return-value]


def register_elsewhere(registry: Registry, file: Path, kind: str) -> tuple[ModelEntry, ElsewhereSpec]:
    """Returns the model version of a declared model, after registering it if it has no version yet.

    The same files and the same declaration give the same version.

    Args:
        registry: where models are.
        file: YAML file with one of `DECLARATIONS`.
        kind: which one.

    Raises:
        ConfigError: the file is wrong, or a file that it names is missing.
        EncoderError: the model cannot embed images as declared.
    """
    with tried(file, kind) as found:
        tags = {"kind": kind, "embedding_dim": str(found.spec.embedding_dim)}
        return registry.register(found.folder, name=found.name, run_id=None, tags=tags), found.spec


@contextmanager
def tried(file: Path, kind: str) -> Iterator[Tried]:
    """Yields the model folder of a declared model after a trial run. It is removed when the block ends.

    Raises:
        ConfigError: the file is wrong, or a file that it names is missing.
        EncoderError: the model cannot embed images as declared.
        OutOfMemory: the trial run needs more memory than there is.
    """
    declared = load_declaration(file, kind)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        _copy(file.parent, _sources(file, declared), folder)
        spec = _spec(declared, getattr(declared, "embedding_dim", MAX_DIM))
        try:
            encoder = ElsewhereEncoder(spec, forward_of(folder, spec))
            spec = _spec(declared, trial_dim(encoder))
        except (EncoderError, RegistryError) as error:
            message = f"{file}: model {declared.name}: {str(error).replace(f'{folder}/', '')}"
            raise EncoderError(message) from error
        except (MemoryError, RuntimeError) as error:
            if not is_about_memory(error):
                raise
            message = (
                f"{file}: model {declared.name}: the trial run with {N_SITES} sites needs more memory than there is "
                f"({error}); check the number of channels, the size of the images and the widths that are declared"
            )
            raise OutOfMemory(message) from error
        (folder / SPEC_NAME).write_text(spec.model_dump_json(indent=1))
        yield Tried(declared.name, folder, spec, encoder.device)


def _spec(declared: Declaration, embedding_dim: int) -> ElsewhereSpec:
    network = declared if isinstance(declared, NetworkDeclaration) else None
    return ElsewhereSpec(
        kind=declared.kind,
        input=declared.input,
        output=declared.output,
        embedding_dim=embedding_dim,
        backbone=network.backbone if network else None,
        trained_px=network.trained_px if network else None,
    )


def _sources(file: Path, declared: Declaration) -> dict[str, str]:
    """The files of a declaration, by the names that they have in the model folder."""
    if isinstance(declared, HuggingFaceDeclaration):
        return {name: f"{declared.folder}/{name}" for name in (CONFIG, HF_WEIGHTS)}
    if isinstance(declared, NetworkDeclaration):
        return {WEIGHTS: declared.file}
    if isinstance(declared, ExportedDeclaration):
        return {PROGRAM: declared.file}
    beside = declared.file.rpartition("/")[0]
    clash = {GRAPH, SPEC_NAME} & set(declared.files)
    if clash:
        message = (
            f"{file}: files: {', '.join(sorted(clash))} is a name of the model folder itself; export with another name"
        )
        raise ConfigError(message)
    return {GRAPH: declared.file} | {name: f"{beside}/{name}" if beside else name for name in declared.files}


def _copy(root: Path, sources: dict[str, str], folder: Path) -> None:
    """Copies files of the declaration's folder; links that leave it are refused."""
    folder.mkdir()
    n_bytes = 0
    for name, source in sources.items():
        path = _inner_file(root, source)
        if path is None:
            message = f"{root / source}: no such file inside the folder of the declaration"
            raise ConfigError(_with_hint(message, root / source))
        n_bytes += path.stat().st_size
        if n_bytes > MAX_BYTES:
            message = f"{root / source}: the files have more than {MAX_BYTES:,} bytes"
            raise ConfigError(message)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)


def _inner_file(root: Path, source: str) -> Path | None:
    """The file of a declaration without links; None if there is none inside the folder."""
    try:
        path = (root / source).resolve()
        is_file = path.is_relative_to(root.resolve()) and path.is_file()
    except (OSError, RuntimeError):  # a name that is too long, or a link to itself
        return None
    return path if is_file else None


def _with_hint(message: str, path: Path) -> str:
    """The message, with what to do where weights of Hugging Face are there in another form."""
    if path.name != HF_WEIGHTS or not path.parent.is_dir():
        return message
    others = sorted(other.name for other in path.parent.iterdir() if other.suffix in OTHER_WEIGHTS)
    return (
        f"{message}; found {', '.join(others) or 'nothing'}. Weights in pickles (.bin, .pt) are never opened, and "
        "weights in several files are not supported: save the model again with save_pretrained(folder, "
        "safe_serialization=True, max_shard_size='32GB')"
    )
