"""Reads a declared table into one row per well or site: its keys, and its features as a matrix."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from cellassets.errors import ProfilesError
from cellassets.profiles.cellprofiler_database import CellProfilerDatabase, groups_of_images
from cellassets.profiles.declaration import ProfilesSpec
from cellassets.profiles.feature_columns import as_numbers, feature_names, same_features
from cellassets.profiles.keys import IDS, IS_CONTROL, NamesInTable, identified, key_names, one_row_each, place, raw_name
from cellassets.profiles.reading import is_database, open_table, reading, require_columns
from cellassets.progress import Progress, no_progress

IMAGES_AT_ONCE = 100  # of a database


@dataclass(frozen=True)
class ProfileRows:
    """One row per well or site.

    Attributes:
        labels: experiment_id, plate_id, well_id and site_index, which is null where a row is of a whole well.
        is_control: true for negative controls; false everywhere if the declaration does not say which they are.
        values: features; NaN where a value is missing or infinite.
        features: names of the features.
    """

    labels: pl.DataFrame
    is_control: Bool[np.ndarray, "row"]
    values: Float[np.ndarray, "row feature"]
    features: tuple[str, ...]


def read_rows(files: list[Path], spec: ProfilesSpec, *, progress: Progress = no_progress) -> ProfileRows:
    """Returns the rows of a table.

    Args:
        files: the files of the table, from `reading.table_files`.
        spec: what is in them.
        progress: told after every group of images of a database.

    Raises:
        ProfilesError: a file is not what the declaration says; the message names the file, the column and the well.
    """
    databases = {path: CellProfilerDatabase(path) for path in files if is_database(path)}
    others = {path: open_table(path, spec) for path in files if path not in databases}
    keys = key_names(spec)
    columns = {path: _own_columns(frame, keys) for path, frame in others.items()}
    columns |= {path: database.cell_columns() for path, database in databases.items()}
    features = same_features({path: feature_names(path, columns[path], spec.features, keys=keys) for path in files})
    names = NamesInTable()
    parts = [_cells_of(database, spec, features, names, progress) for database in databases.values()]
    if others:
        parts.append(_rows_of(others, spec, features, names))
    found = one_row_each(files[0], pl.concat(parts), spec.rows)
    if found.is_empty():
        message = f"{files[0]}: no row of a well; expected one row per {spec.rows} below the header"
        raise ProfilesError(message)
    names.refuse_unused(files[0], spec)
    values = found.select(features).to_numpy().astype(np.float64)
    return ProfileRows(found.select(IDS), found[IS_CONTROL].to_numpy(), values, tuple(features))


def _own_columns(frame: pl.LazyFrame, keys: list[str]) -> list[str]:
    """The columns that the file has."""
    added = {raw_name(name) for name in keys}
    return [name for name in frame.collect_schema().names() if name not in added]


def _rows_of(
    frames: dict[Path, pl.LazyFrame], spec: ProfilesSpec, features: list[str], names: NamesInTable
) -> pl.DataFrame:
    """The rows of CSV and Parquet files, whose names are noted; cells as the median of their site or well."""
    parts, keys = [], key_names(spec)
    raw = [raw_name(name) for name in keys]
    for path, frame in frames.items():
        with reading(path):
            different = _different(frame.select(raw).collect(), keys)
            names.add(different, spec)
            known = identified(path, different, spec)
            parts.append(
                as_numbers(path, frame.select(*raw, *features), features)
                .join(known.lazy(), on=raw, how="inner", nulls_equal=True)
                .select(*IDS, IS_CONTROL, *features)
            )
    first = next(iter(frames))
    with reading(first):
        whole = pl.concat(parts)
        return _median(first, whole, features) if spec.rows == "cell" else whole.collect()


def _cells_of(
    database: CellProfilerDatabase, spec: ProfilesSpec, features: list[str], names: NamesInTable, progress: Progress
) -> pl.DataFrame:
    """The median of the cells of every site or well of a database, whose names are noted."""
    path, keys = database.path, key_names(spec)
    if spec.rows != "cell":
        message = f"{path}: CellProfiler's database has one row per cell; declare rows: cell, not rows: {spec.rows}"
        raise ProfilesError(message)
    require_columns(path, database.columns["Image"], keys)
    images = database.images(keys)
    different = _different(images, keys)
    names.add(different, spec)
    known = identified(path, different, spec)
    images = images.join(known, on=list(map(raw_name, keys)), how="inner", nulls_equal=True)
    parts = [_empty(features)]
    n_done = 0
    for group in _groups(images):
        with reading(path):
            cells = database.cells(group.drop(map(raw_name, keys)), features)
            if cells.height:
                parts.append(_median(path, as_numbers(path, cells.lazy(), features), features))
        n_done += group.height
        progress(n_done, images.height, f"images of {path.name}")
    return pl.concat(parts)


def _different(frame: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """The different rows of the key columns, under their own names."""
    return frame.select(pl.col(raw_name(name)).alias(name) for name in keys).unique(maintain_order=True)


def _groups(images: pl.DataFrame) -> Iterator[pl.DataFrame]:
    return groups_of_images(images, IDS, n_images=IMAGES_AT_ONCE)


def _median(path: Path, cells: pl.LazyFrame, features: list[str]) -> pl.DataFrame:
    """One row per site or well: the median of each feature over its cells, without missing values."""
    both = pl.col(IS_CONTROL)
    found = (
        cells.group_by(IDS)
        .agg(pl.col(features).median(), both.any(), (both.any() & ~both.all()).alias("is_mixed"))
        .collect()
    )
    mixed = found.filter("is_mixed")
    if mixed.height:
        first = place(mixed.sort(IDS, nulls_last=True).row(0, named=True))
        message = (
            f"{path}: {first} has control cells and other cells ({mixed.height} such places); expected one kind per "
            "well, so correct the column of `controls`"
        )
        raise ProfilesError(message)
    return found.select(*IDS, IS_CONTROL, *features)


def _empty(features: list[str]) -> pl.DataFrame:
    types = {**dict.fromkeys(IDS[:3], pl.String), IDS[3]: pl.Int32, IS_CONTROL: pl.Boolean}
    return pl.DataFrame(schema={**types, **dict.fromkeys(features, pl.Float64)})
