"""A registered model as a new folder: the files that were registered, and a README.md that says how to use them."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from string import Template
from typing import Any

from cellassets.errors import CellAssetsError, ExportError
from cellassets.registry import ModelEntry, Registry
from cellassets.registry.names import entry_named
from cellassets.registry.uploading import READABLE, model_files
from cellassets.training.spec import SPEC_NAME

README = "README.md"
LOADABLE = frozenset({"network", "exported", "onnx", "huggingface"})
PAGE = Template("""# $key

$what

- fingerprint of the files: `$fingerprint`
- kind: $kind
- preprocessing and architecture: `encoder.json`, key by key in cellassets' docs/models-from-elsewhere.md

$how
""")
EXAMPLE = """```python
import cellassets, numpy
images = numpy.load("images.npy")  # [site, channel, y, x], uint8 or uint16
vectors = cellassets.load_model(".").embed_images(images)
```

Run it in this folder. `vectors` has one row per site. The channels are {channels}.
{statistics}"""
NOT_LOADABLE = (
    "`cellassets.load_model` cannot open it, because it needs a whole experiment, a container or its own table."
)
BY_PLATE = (
    "The model is normalised by plate: give all images of a plate in one call, or `moments=(mean, std)` of the plate."
)
BY_SITE = "Every site is normalised by itself, or as encoder.json says."


def get_model(registry: Registry, asked: str, target: Path) -> ModelEntry:
    """Returns the version that was asked for, after writing its files into a new folder.

    The folder appears when it is complete. Its files have the fingerprint of the registration.

    Args:
        registry: where models are.
        asked: `NAME.v3`, `NAME@champion` or `NAME@latest`.
        target: the folder; it must not exist.

    Raises:
        RegistryError: there is no such version.
        CorruptArtifact: its files are gone, or are not those that were registered.
        ExportError: the folder exists, or cannot be written.
    """
    if os.path.lexists(target):  # false also where the name is too long: then it cannot be written
        message = f"{target}: exists already; name a new folder, or remove it"
        raise ExportError(message)
    entry = entry_named(registry.list_models(), asked)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".get-") as scratch:
            source, made = registry.fetch(entry.key, Path(scratch)), Path(scratch) / "made"
            for name in model_files(source):
                _copy(source / name, made / name)
            (made / README).write_text(page(entry, json.loads((made / SPEC_NAME).read_bytes())))
            (made / README).chmod(READABLE)
            made.rename(target)
    except CellAssetsError:  # some are an OSError too
        raise
    except OSError as error:
        message = f"{target}: cannot be written ({error.strerror or error})"
        raise ExportError(message) from error
    return entry


def page(entry: ModelEntry, described: dict[str, Any]) -> str:
    """Returns the README.md of a model.

    Args:
        entry: the model version.
        described: its `encoder.json`.
    """
    is_loadable = entry.kind in LOADABLE
    normalisation = (described.get("input") or described.get("preprocessing") or {}).get("normalisation")
    how = EXAMPLE.format(channels=_channels(described), statistics=BY_PLATE if normalisation == "plate" else BY_SITE)
    return PAGE.substitute(
        key=entry.key,
        kind=entry.kind,
        fingerprint=entry.fingerprint,
        what="A model of cellassets, written by `cellassets model get`.",
        how=how if is_loadable else NOT_LOADABLE,
    )


def _channels(described: dict[str, Any]) -> str:
    declared = described.get("input") or {}
    names = declared.get("channels") or described.get("channel_names")
    if names:
        return ", ".join(name if isinstance(name, str) else "/".join(name) for name in names) + ", in this order"
    return f"{declared.get('n_channels') or described.get('n_channels')}, in the order of the training"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(READABLE)
