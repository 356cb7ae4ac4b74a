"""Reads a declared table into one row per well or site: its keys, and its features as a matrix."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from cellassets.errors import ProfilesError
from cellassets.profiles.anndata_tables import AnnDataTable, groups_of_rows
from cellassets.profiles.cellprofiler_database import CellProfilerDatabase, groups_of_images
from cellassets.profiles.declaration import AnndataMatrix, ProfilesSpec
from cellassets.profiles.feature_columns import as_numbers, feature_names, same_features
from cellassets.profiles.keys import (
    IDS,
    IS_CONTROL,
    NamesInTable,
    as_text,
    identified,
    key_names,
    one_row_each,
    place,
    raw_name,
)
from cellassets.profiles.reading import is_anndata, is_database, open_table, reading, require_columns
from cellassets.progress import Progress, no_progress

IMAGES_AT_ONCE = 100  # of a database
VALUES_AT_ONCE = 1 << 23  # of an AnnData file: 64 MB as float64


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
        progress: told after every group of images of a database, and of rows of an AnnData file.

    Raises:
        ProfilesError: a file is not what the declaration says; the message names the file, the column and the well.
    """
    databases = {path: CellProfilerDatabase(path) for path in files if is_database(path)}
    tables = {path: _anndata_table(path, spec) for path in files if is_anndata(path)}
    if spec.anndata is not None and not tables:
        message = f"{files[0]}: not AnnData, for which `anndata` of the declaration is meant; remove this key"
        raise ProfilesError(message)
    others = {path: open_table(path, spec) for path in files if path not in {*databases, *tables}}
    keys = key_names(spec)
    columns = {path: _own_columns(frame, keys) for path, frame in others.items()}
    columns |= {path: database.cell_columns() for path, database in databases.items()}
    columns |= {path: table.features for path, table in tables.items()}
    features = same_features({path: feature_names(path, columns[path], spec.features, keys=keys) for path in files})
    names = NamesInTable()
    parts = [_cells_of(database, spec, features, names, progress) for database in databases.values()]
    parts += [_rows_of_anndata(table, spec, features, names, progress) for table in tables.values()]
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
            known = _known(path, frame.select(raw).collect(), spec, names)
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
    known = _known(path, images, spec, names)
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


def _anndata_table(path: Path, spec: ProfilesSpec) -> AnnDataTable:
    """An AnnData file that has the key columns."""
    table = AnnDataTable(path, spec.anndata or AnndataMatrix())
    require_columns(path, table.keys, key_names(spec))
    return table


def _rows_of_anndata(
    table: AnnDataTable, spec: ProfilesSpec, features: list[str], names: NamesInTable, progress: Progress
) -> pl.DataFrame:
    """The rows of an AnnData file, whose names are noted; cells as the median of their site or well."""
    path, keys = table.path, key_names(spec)
    parts = [_empty(features)]
    with reading(path):
        columns = table.key_columns(keys)
        texts = columns.select(as_text(name, columns.schema[name]) for name in keys)
        known = _known(path, texts, spec, names)
        rows = texts.with_row_index("row").join(known, on=texts.columns, how="inner", nulls_equal=True)
        groups = groups_of_rows(rows, IDS, n_rows=max(1, VALUES_AT_ONCE // len(table.features)))
        n_done = 0
        values = table.values((group["row"].to_numpy().astype(np.int64) for group in groups), features)
        for group, found in zip(groups, values, strict=True):
            cells = group.select(*IDS, IS_CONTROL).hstack(as_numbers(path, found.lazy(), features).collect())
            parts.append(_median(path, cells.lazy(), features) if spec.rows == "cell" else cells)
            n_done += group.height
            progress(n_done, rows.height, f"rows of {path.name}")
    return pl.concat(parts)


def _known(path: Path, texts: pl.DataFrame, spec: ProfilesSpec, names: NamesInTable) -> pl.DataFrame:
    """The ids of the different rows of the key columns, whose names are noted."""
    own = [pl.col(raw_name(name)).alias(name) for name in key_names(spec)]
    different = texts.select(own).unique(maintain_order=True)
    names.add(different, spec)
    return identified(path, different, spec)


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
