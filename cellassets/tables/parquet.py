"""Reading and writing Parquet; every table is checked against its schema in both directions."""

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
import polars as pl
from jaxtyping import Float, Float32
from upath import UPath

from cellassets.errors import CellAssetsError, SchemaError
from cellassets.storage.artifact import FileEntry, PublishedFile, create_file, write_bytes, write_files
from cellassets.storage.objects import in_parallel
from cellassets.tables.schema import TableSchema

GROUP_BYTES, MIN_GROUP_ROWS = 1 << 20, 64  # of vectors in one row group
N_READ_AT_ONCE = 4  # tables in memory twice, as bytes and decoded


def write_table(table: pl.DataFrame, path: UPath, schema: TableSchema) -> None:
    """Writes `table` to `path` as zstd Parquet in one atomic step.

    Raises:
        SchemaError: the table does not follow `schema`.
    """
    write_bytes(path, _encode(table, path, schema))


def write_tables(tables: Mapping[str, tuple[pl.DataFrame, TableSchema]], folder: UPath) -> list[FileEntry]:
    """Writes tables below a folder as zstd Parquet, in parallel, and returns their sizes and checksums.

    Args:
        tables: table and schema by file name.
        folder: the folder.

    Raises:
        SchemaError: a table does not follow its schema.
    """
    return write_files(
        folder, {name: _encode(table, folder / name, schema) for name, (table, schema) in tables.items()}
    )


def write_new_table(table: pl.DataFrame, path: UPath, schema: TableSchema) -> None:
    """Writes `table` to `path` as zstd Parquet in one atomic step, unless a file is already there.

    Raises:
        SchemaError: the table is not what `schema` says.
    """
    with suppress(FileExistsError):
        create_file(path, _encode(table, path, schema))


def _encode(table: pl.DataFrame, path: UPath, schema: TableSchema) -> bytes:
    buffer = io.BytesIO()
    conformed = schema.conform(table, source=str(path))
    conformed.write_parquet(buffer, compression="zstd", row_group_size=_rows_per_group(conformed))
    return buffer.getvalue()


def _rows_per_group(table: pl.DataFrame) -> int | None:
    """Small groups where rows hold vectors: who asks for one well or one perturbation reads one group."""
    widths = [dtype.size for dtype in table.dtypes if isinstance(dtype, pl.Array)]
    return max(MIN_GROUP_ROWS, GROUP_BYTES // (4 * sum(widths))) if widths else None


def read_table(path: UPath | PublishedFile, schema: TableSchema) -> pl.DataFrame:
    """Returns the table at `path`; nullable columns that are missing in the file are filled with nulls.

    Raises:
        CorruptArtifact: the content of a published file differs from its commit record.
        SchemaError: the file is not a Parquet file, or its table does not follow `schema`.
    """
    try:
        table = pl.read_parquet(io.BytesIO(path.read_bytes()))
    except pl.exceptions.ComputeError as error:
        message = f"{path}: cannot be read as Parquet ({error}); expected a {schema.name} table"
        raise SchemaError(message) from error
    # nullable columns may have been added to the schema after the file was written
    later = [
        pl.lit(None, c.dtype).alias(c.name) for c in schema.columns if c.is_nullable and c.name not in table.columns
    ]
    return schema.conform(table.with_columns(later), source=str(path))


def read_vectors(
    path: UPath | PublishedFile, schema: TableSchema, column: str = "embedding"
) -> tuple[pl.DataFrame, Float32[np.ndarray, "row feature"]]:
    """Returns a table without one column of vectors, and these vectors; they are in memory once.

    Raises:
        CorruptArtifact: the content of a published file differs from its commit record.
        SchemaError: the file is not a Parquet file, or its table does not follow `schema`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = path.read_bytes()
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        labels = pl.read_parquet(io.BytesIO(content), columns=[n for n in file.schema_arrow.names if n != column])
        width = file.schema_arrow.field(column).type.list_size
        values = np.empty((labels.height, width), dtype=np.float32)
        at = 0
        for batch in file.iter_batches(columns=[column]):
            rows = batch.column(0).flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
            values[at : at + len(rows)] = rows
            at += len(rows)
    except (pl.exceptions.PolarsError, pa.ArrowException, KeyError) as error:
        message = f"{path}: cannot be read as Parquet ({error}); expected a {schema.name} table"
        raise SchemaError(message) from error
    schema.conform(with_vectors(labels[:1], values[:1], column), source=str(path))
    return labels, values


def read_tables(paths: Sequence[UPath | PublishedFile], schema: TableSchema) -> pl.DataFrame:
    """Returns the rows of several files of one table, in the order of `paths`; an empty table without files."""
    if not paths:
        return schema.empty()
    return pl.concat(in_parallel(read_table, [(path, schema) for path in paths], n_threads=N_READ_AT_ONCE))


def read_foreign(path: UPath, refusal: type[CellAssetsError], *, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Returns a Parquet file that another program wrote.

    Args:
        path: the file.
        refusal: error to raise about its content.
        columns: columns to read; all by default.

    Raises:
        CellAssetsError: as `refusal`; it is not Parquet, or lacks a column.
    """
    try:
        with path.open("rb") as stream:
            return pl.read_parquet(stream, columns=None if columns is None else list(columns), use_pyarrow=False)
    except pl.exceptions.PolarsError as error:
        message = f"{path}: cannot be read as Parquet ({error}); copy the file again"
        raise refusal(message) from error


def vectors(table: pl.DataFrame, column: str = "embedding") -> Float[np.ndarray, "row feature"]:
    """Returns an array column as a float32 matrix with one row per table row."""
    values = table[column].to_numpy()
    return np.ascontiguousarray(values, dtype=np.float32)


def with_vectors(
    table: pl.DataFrame, values: Float[np.ndarray, "row feature"], column: str = "embedding"
) -> pl.DataFrame:
    """Returns `table` with an array column that holds the rows of a matrix."""
    matrix = np.ascontiguousarray(values, dtype=np.float32)
    return table.with_columns(pl.Series(column, matrix, dtype=pl.Array(pl.Float32, matrix.shape[1])))
