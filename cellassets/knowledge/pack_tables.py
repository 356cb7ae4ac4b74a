"""The table of an annotation pack, from the bytes of its file: taken over, or read into our columns."""

import io
from tempfile import TemporaryDirectory

import polars as pl
from upath import UPath

from cellassets.errors import AnnotationError
from cellassets.knowledge.annotation_files import Source, read_source
from cellassets.knowledge.packs import ColumnRule, Pack
from cellassets.tables.written import parse_written


def pack_content(pack: Pack, content: bytes) -> bytes:
    """Returns the bytes of the file that is installed.

    Args:
        pack: the pack; its `columns` say how the file is read.
        content: the file as it was fetched.

    Raises:
        AnnotationError: the file is not a table, or lacks a column.
    """
    if pack.columns is None:
        return content
    table = parse_written(content, f"{pack.name}, as fetched", AnnotationError)
    missing = sorted({rule.source for rule in pack.columns.values()} - set(table.columns))
    if missing:
        message = f"{pack.name}: the fetched file lacks the columns {missing}; it has {table.columns[:20]}"
        raise AnnotationError(message)
    stream = io.BytesIO()
    _read_by(table, pack.columns).write_csv(stream)
    return stream.getvalue()


def pack_source(pack: Pack, installed: bytes) -> Source:
    """Returns the source as a lake will read it.

    Raises:
        AnnotationError: the table cannot be read, or has another kind or number of rows than the pack declares.
    """
    with TemporaryDirectory() as folder:
        path = UPath(folder) / pack.file_name
        path.write_bytes(installed)
        try:
            source = read_source(path)
        except AnnotationError as error:
            message = str(error).replace(str(path), pack.name)
            raise AnnotationError(message) from error
    if source.kind != pack.kind or pack.n_rows not in (None, source.rows.height):
        message = (
            f"{pack.name}: the file has {source.rows.height} rows of {source.kind}, the pack declares {pack.n_rows} of "
            f"{pack.kind}"
        )
        raise AnnotationError(message)
    return source


def _read_by(table: pl.DataFrame, columns: dict[str, ColumnRule]) -> pl.DataFrame:
    """Our columns; rows without a value in one of them are left out."""
    found = table.select(_value(rule).alias(name) for name, rule in columns.items())
    for name, rule in columns.items():
        if rule.split_by is not None:
            found = found.with_columns(pl.col(name).str.split(rule.split_by)).explode(name)
    found = found.with_columns(pl.all().str.strip_chars())
    return found.filter(pl.all_horizontal(pl.all().is_not_null() & (pl.all() != ""))).unique().sort(pl.all())


def _value(rule: ColumnRule) -> pl.Expr:
    value = pl.col(rule.source)
    return value if rule.extract is None else value.str.extract(rule.extract, 1)
