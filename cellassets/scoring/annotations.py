"""Annotation sources: tables of gene pairs that are known to belong together, one CSV a source."""

import polars as pl
from upath import UPath

from cellassets.artifact import describe_file
from cellassets.errors import AnnotationError

COLUMNS = ("entity1", "entity2")


def read_pairs(path: UPath) -> pl.DataFrame:
    """Returns the pairs of one source, entity1 < entity2, each once; pairs of a gene with itself are left out.

    Raises:
        AnnotationError: it is no CSV table, lacks a column, has an empty cell, or has no pair.
    """
    try:
        table = pl.read_csv(path.read_bytes(), infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        message = f"{path}: not a CSV table ({error}); expected the columns {', '.join(COLUMNS)}"
        raise AnnotationError(message) from error
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        message = f"{path}: lacks the columns {missing}, has {table.columns}; expected a pair of genes a row"
        raise AnnotationError(message)
    pairs = table.with_row_index("line", offset=2).select("line", *(pl.col(name).str.strip_chars() for name in COLUMNS))
    empty = pairs.filter(pl.any_horizontal(pl.col(name).fill_null("") == "" for name in COLUMNS))
    if empty.height:
        message = f"{path}, line {empty['line'][0]}: a pair with one gene missing ({empty.height} such lines)"
        raise AnnotationError(message)
    ordered = pairs.select(
        pl.min_horizontal(COLUMNS).alias("entity1"), pl.max_horizontal(COLUMNS).alias("entity2")
    ).filter(pl.col("entity1") != pl.col("entity2"))
    if ordered.is_empty():
        message = f"{path}: no pair of two different genes in {table.height} rows"
        raise AnnotationError(message)
    return ordered.unique().sort(COLUMNS)


def annotation_sources(folder: UPath) -> dict[str, UPath]:
    """Returns the sources in a folder by name (the file's stem), in order of the names."""
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.iterdir(), key=lambda path: path.name) if path.suffix == ".csv"}


def annotation_fingerprints(folder: UPath) -> dict[str, list[int]]:
    """Returns size and CRC32C of each source."""
    entries = {name: describe_file(path, path.name) for name, path in annotation_sources(folder).items()}
    return {name: [entry.n_bytes, entry.crc32c] for name, entry in entries.items()}
