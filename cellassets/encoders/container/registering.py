"""Registers a container encoder from the file that declares it."""

import shutil
import tempfile
from pathlib import Path

from upath import UPath

from cellassets.configuration import load_yaml
from cellassets.encoders.container.declaration import RUNNING_TAG, ContainerDeclaration
from cellassets.errors import ConfigError
from cellassets.registry import ModelEntry, Registry
from cellassets.training.spec import SPEC_NAME

KIND = "container"


def register_container(registry: Registry, file: Path) -> ModelEntry:
    """Returns the model version of a declared encoder, after registering it if it has no version yet.

    The same program gives the same version; only how it is run is then updated.

    Args:
        registry: where models are.
        file: YAML file with a `ContainerDeclaration`; its name is the model's unless it has the key `name`.

    Raises:
        ConfigError: the file is wrong, or a file that it names is missing.
    """
    declared = load_yaml(UPath(file), ContainerDeclaration, name=file.stem)
    running = declared.running.model_dump_json()
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_model_folder(declared, file.parent, Path(scratch) / "model")
        tags = {"kind": KIND, RUNNING_TAG: running}
        entry = registry.register(folder, name=declared.name, run_id=None, tags=tags)
    if entry.tags.get(RUNNING_TAG) != running:
        registry.client().set_model_version_tag(entry.name, str(entry.version), RUNNING_TAG, running)
        entry = registry.find(entry.key)
    return entry


def write_model_folder(declared: ContainerDeclaration, beside: Path, folder: Path) -> Path:
    """Returns `folder` after writing `encoder.json` and the files of the encoder into it.

    Raises:
        ConfigError: a file is missing.
    """
    folder.mkdir()
    (folder / SPEC_NAME).write_text(declared.spec().model_dump_json(indent=1))
    for name in declared.files:
        source = beside / name
        if not source.is_file():
            message = f"{source}: no such file, but `files` of the encoder {declared.name} names it"
            raise ConfigError(message)
        shutil.copyfile(source, folder / name)
    return folder
