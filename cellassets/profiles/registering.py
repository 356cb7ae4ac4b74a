"""Registers a table of profiles from the file that declares it."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
from upath import UPath

from cellassets.configuration import load_yaml
from cellassets.errors import ConfigError
from cellassets.profiles.declaration import ProfilesDeclaration, ProfilesSpec
from cellassets.profiles.model_folder import KIND, write_model_folder
from cellassets.profiles.preparing import Prepared, prepare
from cellassets.profiles.profile_rows import read_rows
from cellassets.profiles.reading import table_files
from cellassets.profiles.steps import Blocklist, Step
from cellassets.progress import Progress, no_progress
from cellassets.registry import ModelEntry, Registry

TABLE_TAG = "table"
HEADER = "blocklist"  # first line of pycytominer's list
CheckPlaces = Callable[[pl.DataFrame], None]  # takes experiment_id, plate_id, well_id and site_index of the rows


def any_place(labels: pl.DataFrame) -> None:
    """Accepts rows of any experiment, plate and well."""


def load_declaration(file: Path) -> ProfilesDeclaration:
    """Returns the declaration in a YAML file; its name is the model's unless it has the key `name`.

    Raises:
        ConfigError: the file is wrong, or a blocklist that it names is missing.
    """
    declared = load_yaml(UPath(file), ProfilesDeclaration, name=file.stem)
    steps = tuple(_with_names(step, file.parent) for step in declared.steps)
    return declared.model_copy(update={"steps": steps})


def prepare_declared(
    file: Path,
    declared: ProfilesDeclaration,
    *,
    check_places: CheckPlaces = any_place,
    progress: Progress = no_progress,
) -> tuple[ProfilesSpec, Prepared]:
    """Returns what decides the vectors of a declared table, and the vectors.

    Args:
        file: the file of the declaration; the table is found relative to it.
        declared: its content, from `load_declaration`.
        check_places: raises an error if the rows are of wells that they cannot be of.
        progress: told while a database is read.

    Raises:
        ProfilesError: the table is not what the declaration says, or a step cannot be carried out.
    """
    spec = declared.spec()
    rows = read_rows(table_files(declared.table, file.parent), spec, progress=progress)
    check_places(rows.labels)
    return spec, prepare(rows, spec.steps)


def register_profiles(
    registry: Registry, file: Path, *, check_places: CheckPlaces = any_place, progress: Progress = no_progress
) -> tuple[ModelEntry, Prepared]:
    """Returns the model version of a declared table and its vectors, after registering it if it has no version yet.

    The same vectors from the same declaration give the same version.

    Args:
        registry: where models are.
        file: YAML file with a `ProfilesDeclaration`.
        check_places: raises an error if the rows are of wells that they cannot be of.
        progress: told while a database is read.

    Raises:
        ConfigError: the file is wrong.
        ProfilesError: the table is not what the declaration says, or a step cannot be carried out.
    """
    declared = load_declaration(file)
    spec, prepared = prepare_declared(file, declared, check_places=check_places, progress=progress)
    tags = {"kind": KIND, TABLE_TAG: declared.table}
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_model_folder(Path(scratch) / "model", spec, prepared)
        return registry.register(folder, name=declared.name, run_id=None, tags=tags), prepared


def _with_names(step: Step, beside: Path) -> Step:
    """The step with the names in its file, so that the model does not depend on the file."""
    if not isinstance(step, Blocklist) or step.file is None:
        return step
    path = beside / step.file
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: cannot be read ({error}); expected the blocklist that the step names, one feature per line"
        raise ConfigError(message) from error
    names = [line for line in lines if line and line != HEADER]
    return step.model_copy(update={"features": (*step.features, *names), "file": None})
