"""Reads one annotation file: CSV, TSV, GMT or EFAAR's clusters, recognised by suffix and columns.

A file that cannot be read is refused with its path and line. `annotations.py` says what the sources are used for.
"""

from dataclasses import dataclass
from typing import Literal

import polars as pl
from upath import UPath

from cellassets.errors import AnnotationError
from cellassets.tables.written import LINE, read_written, require_regular, written_header, written_lines

AnnotationKind = Literal["pairs", "sets", "targets", "gene_arms"]
COLUMNS: dict[AnnotationKind, tuple[str, str]] = {
    "pairs": ("entity1", "entity2"),
    "sets": ("set_id", "member"),
    "targets": ("compound_id", "gene_symbol"),
    "gene_arms": ("gene_symbol", "chromosome_arm"),
}
ARM_PATTERN = r"^(?:chr)?(\d{1,2}|[XY])([pq])$"


@dataclass(frozen=True)
class Source:
    """One file: its name (the file's stem), its kind, and its rows in the two columns of that kind."""

    name: str
    kind: AnnotationKind
    rows: pl.DataFrame


def read_source(path: UPath) -> Source:
    """Returns one annotation file.

    Raises:
        AnnotationError: it is not a table, has none of the known pairs of columns, an empty cell, or no usable row.
    """
    table = _gene_sets(path) if path.suffix == ".gmt" else _table(path)
    kind = _kind_by_columns(table.columns)
    if kind is None:
        known = "; ".join(f"{', '.join(columns)} ({kind})" for kind, columns in COLUMNS.items())
        found = [name for name in table.columns if name != LINE]
        message = f"{path}: has the columns {found}; expected one of: {known}"
        raise AnnotationError(message)
    rows = _without_empty(table, kind, path)
    cleaned = {"pairs": _ordered_pairs, "gene_arms": _checked_arms}.get(kind, _distinct)(rows, path)
    return Source(path.stem, kind, cleaned)


def source_kind(path: UPath) -> AnnotationKind | None:
    """The kind of a file, from its header; None where only reading the whole file shows that it is wrong.

    Raises:
        AnnotationError: it is a folder, a pipe or a device, which is never opened.
    """
    require_regular(path, AnnotationError)
    if path.suffix == ".gmt":
        return "sets"
    found = _kind_by_columns(written_header(path, AnnotationError))
    return "sets" if found is None and path.suffix == ".tsv" else found


def _kind_by_columns(names: list[str]) -> AnnotationKind | None:
    return next((kind for kind, columns in COLUMNS.items() if set(columns) <= set(names)), None)


def _table(path: UPath) -> pl.DataFrame:
    if path.suffix == ".tsv":
        header = written_header(path, AnnotationError)
        if _kind_by_columns(header) is None and "set_id" not in header:
            return _clusters(path)
    return read_written(path, AnnotationError)


def _gene_sets(path: UPath) -> pl.DataFrame:
    """GMT: one set per line: name, description, members, separated by tabs."""
    lines = written_lines(path, AnnotationError)
    return _sets(path, [(line, cells[0], cells[2:]) for line, cells in lines], "name, description, members")


def _clusters(path: UPath) -> pl.DataFrame:
    """EFAAR's clusters: one set per line: name, a tab, members separated by spaces."""
    sets = [(line, cells[0], " ".join(cells[1:]).split()) for line, cells in written_lines(path, AnnotationError)]
    if all(len(members) == 1 for _, _, members in sets):
        message = (
            f"{path}: no line has a second member, so these are not clusters (name, a tab, members between spaces); "
            f"the first line of a table must name its columns, such as {' and '.join(COLUMNS['pairs'])}"
        )
        raise AnnotationError(message)
    return _sets(path, sets, "name, a tab, members")


def _sets(path: UPath, sets: list[tuple[int, str, list[str]]], form: str) -> pl.DataFrame:
    for line, name, members in sets:
        if not name or not any(members):
            what = f"set {name[:40]!r} has no members" if name else "a set without a name"
            message = f"{path}, line {line}: {what}; expected {form} on a line"
            raise AnnotationError(message)
    rows = [(line, name, member) for line, name, members in sets for member in members if member]
    schema = {LINE: pl.Int64, **dict.fromkeys(COLUMNS["sets"], pl.String)}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _without_empty(table: pl.DataFrame, kind: AnnotationKind, path: UPath) -> pl.DataFrame:
    columns = COLUMNS[kind]
    rows = table.select(LINE, *columns)
    empty = rows.filter(pl.any_horizontal(pl.col(name).is_null() for name in columns))
    if empty.height:
        message = f"{path}, line {empty[LINE][0]}: {' or '.join(columns)} is missing ({empty.height} such lines)"
        raise AnnotationError(message)
    return rows.drop(LINE)


def _distinct(rows: pl.DataFrame, path: UPath) -> pl.DataFrame:
    if rows.is_empty():
        message = f"{path}: no row below the header {rows.columns}"
        raise AnnotationError(message)
    return rows.unique().sort(rows.columns)


def _ordered_pairs(rows: pl.DataFrame, path: UPath) -> pl.DataFrame:
    """Each pair once in either order; pairs of a gene with itself are left out, as in EFAAR_benchmarking."""
    ordered = rows.select(
        pl.min_horizontal("entity1", "entity2").alias("entity1"),
        pl.max_horizontal("entity1", "entity2").alias("entity2"),
    ).filter(pl.col("entity1") != pl.col("entity2"))
    if ordered.is_empty():
        message = f"{path}: no pair of two different genes in {rows.height} rows"
        raise AnnotationError(message)
    return _distinct(ordered, path)


def _checked_arms(rows: pl.DataFrame, path: UPath) -> pl.DataFrame:
    arm = pl.col("chromosome_arm")
    wrong = rows.filter(~arm.str.contains(ARM_PATTERN))
    if wrong.height:
        message = f"{path}: chromosome_arm {wrong['chromosome_arm'][0]!r}; expected such as 1p, 22q or Xq"
        raise AnnotationError(message)
    arms = _distinct(rows.with_columns(arm.str.replace(ARM_PATTERN, "$1$2")), path)
    doubled = arms.filter(pl.col("gene_symbol").is_duplicated())
    if doubled.height:
        message = f"{path}: gene {doubled['gene_symbol'][0]!r} is on two arms; leave one row"
        raise AnnotationError(message)
    return arms
