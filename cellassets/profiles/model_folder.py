"""Model folders of profiles: `encoder.json`, which says what was done, and `profiles.parquet` with the vectors.

`registering.py` writes them, `cellassets.encoders.profiles` reads them.
"""

import json
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import ValidationError
from upath import UPath

from cellassets.configuration import Parameters, in_words
from cellassets.errors import RegistryError, SchemaError
from cellassets.profiles.declaration import ProfilesSpec
from cellassets.profiles.preparing import Prepared
from cellassets.tables.parquet import read_table, with_vectors, write_table
from cellassets.tables.schema import Column, TableSchema
from cellassets.tables.schemas.columns import EMBEDDING, EXPERIMENT, PLATE, WELL

KIND = "profiles"
SPEC_NAME, TABLE_NAME = "encoder.json", "profiles.parquet"
PROFILES = TableSchema(
    "profiles",
    (
        EXPERIMENT,
        PLATE,
        WELL,
        Column(
            "site_index", pl.Int32(), "site within the well as on disk; null: a vector of the well", is_nullable=True
        ),
        EMBEDDING,
    ),
)


class DroppedFeatures(Parameters):
    """What one step of feature selection dropped."""

    step: str
    features: tuple[str, ...]


class ProfilesModel(Parameters):
    """The content of `encoder.json`.

    Attributes:
        declared: what was declared about the table, and the steps.
        features: names of the features that the vectors are made of, in order.
        dropped: what each step of feature selection dropped.
    """

    kind: Literal["profiles"] = "profiles"
    format_version: Literal[1] = 1
    declared: ProfilesSpec
    features: tuple[str, ...]
    dropped: tuple[DroppedFeatures, ...]


def write_model_folder(folder: Path, spec: ProfilesSpec, prepared: Prepared) -> Path:
    """Returns `folder` after writing the vectors and what was done into it."""
    folder.mkdir(parents=True, exist_ok=True)
    model = ProfilesModel(
        declared=spec,
        features=prepared.features,
        dropped=tuple(DroppedFeatures(step=one.step, features=one.features) for one in prepared.dropped),
    )
    # without this key, tables that are not AnnData keep the fingerprint that they had before it existed
    unused = {"declared": {"anndata"}} if spec.anndata is None else None
    (folder / SPEC_NAME).write_text(model.model_dump_json(indent=1, exclude=unused))
    write_table(with_vectors(prepared.labels, prepared.vectors), UPath(folder / TABLE_NAME), PROFILES)
    return folder


def read_model(folder: Path) -> ProfilesModel:
    """Returns what `encoder.json` of a model folder says.

    Raises:
        RegistryError: it is not one of profiles that this version can read.
    """
    path = folder / SPEC_NAME
    try:
        return ProfilesModel.model_validate(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError) as error:
        words = in_words(error, ProfilesModel) if isinstance(error, ValidationError) else error
        message = f"{path}: not the {SPEC_NAME} of profiles that this version can read: {words}; register them again"
        raise RegistryError(message) from error


def read_profiles(folder: Path) -> pl.DataFrame:
    """Returns the table of vectors of a model folder.

    Raises:
        RegistryError: the table is missing or damaged.
    """
    path = UPath(folder / TABLE_NAME)
    try:
        return read_table(path, PROFILES)
    except (FileNotFoundError, SchemaError) as error:
        message = f"{path}: {error}; register the profiles again"
        raise RegistryError(message) from error
