"""Which columns of a table are features, and their values as numbers."""

import re
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from cellassets.errors import ProfilesError
from cellassets.profiles.csv_tables import NAN_WORDS

# how CellProfiler numbers tables, images and objects
NUMBERING = re.compile(r"(.*_)?(TableNumber|ImageNumber|ObjectNumber|Object_Number|Parent_\w+)(_[0-9]+)?")
N_SHOWN = 8


def feature_names(path: Path, columns: list[str], pattern: str, *, keys: list[str]) -> list[str]:
    """Returns the feature columns of a table, in their order.

    CellProfiler's numbers of tables, images and objects do not count, even if the pattern matches their names.

    Args:
        path: the file, for messages.
        columns: all columns of the table.
        pattern: regular expression for the whole name of a feature.
        keys: further columns that do not count.

    Raises:
        ProfilesError: no column matches.
    """
    wanted = re.compile(pattern)
    found = [name for name in columns if wanted.fullmatch(name) and not NUMBERING.fullmatch(name) and name not in keys]
    if not found:
        shown = ", ".join(columns[:N_SHOWN])
        message = (
            f"{path}: no feature column: none of its {len(columns)} columns ({shown}, ...) matches {pattern!r}; "
            "set `features` of the declaration to a regular expression for the names of its features"
        )
        raise ProfilesError(message)
    return found


def as_numbers(path: Path, frame: pl.LazyFrame, names: list[str]) -> pl.LazyFrame:
    """Returns the frame with its features as float64; what is missing or infinite is null.

    Raises:
        ProfilesError: a feature column has something else than numbers.
    """
    types = frame.collect_schema()
    texts = [name for name in names if types[name] == pl.String]
    for name in names:
        if not (types[name].is_numeric() or types[name] in (pl.String, pl.Null, pl.Boolean)):
            message = (
                f"{path}, column {name}: expected numbers, found values of the type {types[name]}; leave the column "
                "out by `features` of the declaration"
            )
            raise ProfilesError(message)
    if texts:
        frame = _texts_as_numbers(path, frame, texts)
    number = pl.col(names).cast(pl.Float64)
    return frame.with_columns(pl.when(number.is_finite()).then(number).name.keep())


def same_features(features: Mapping[Path, list[str]]) -> list[str]:
    """Returns the features of the first file, which all files of a table must have.

    Raises:
        ProfilesError: two files have different features; names the first difference.
    """
    (first, expected), *others = features.items()
    for path, names in others:
        differing = sorted(set(names) ^ set(expected))
        if differing:
            where = path if differing[0] in expected else first
            message = (
                f"{where}: no feature {differing[0]!r}, which other files of the table have ({len(differing)} such "
                "features); expected the same features in all files"
            )
            raise ProfilesError(message)
    return expected


def _texts_as_numbers(path: Path, frame: pl.LazyFrame, names: list[str]) -> pl.LazyFrame:
    """Returns text columns as numbers, after looking for other text in them."""
    text = pl.col(names).str.strip_chars()
    known = frame.with_columns(pl.when(~text.is_in(NAN_WORDS)).then(text).name.keep())
    number = pl.col(names).cast(pl.Float64, strict=False)
    wrong = known.select(pl.col(names).filter(number.is_null() & pl.col(names).is_not_null()).first()).collect()
    for name, values in wrong.to_dict().items():
        if values[0] is not None:
            message = (
                f"{path}, column {name}: expected numbers, found {values[0]!r}; correct it, or leave the column out by "
                "`features` of the declaration"
            )
            raise ProfilesError(message)
    return known.with_columns(number)
