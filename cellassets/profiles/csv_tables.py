"""Opens CSV tables of profiles, whatever separates their cells and marks their decimals.

Programs that are set to German or French write semicolons between cells and commas in numbers. What is between cells is
read from the header, and the decimal mark from the first rows. `reading.py` calls this for files that end with .csv or
.csv.gz.
"""

import csv
import gzip
import re
import zlib
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import polars as pl

from cellassets.errors import ProfilesError
from cellassets.tables.written import MISSING, table_separator

NAN_WORDS = sorted({spelled for word in MISSING for spelled in (word, word.upper(), word.title(), "NaN", "<NA>")})
N_LINES = 100  # the decimal mark is looked for in these
DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+([eE][+-]?\d+)?\s*")
DECIMAL_POINT = r"^\s*[+-]?\d+\.\d"


@dataclass(frozen=True)
class Form:
    """How a file is written: what separates cells, the lines before the header, and whether numbers have commas."""

    separator: str
    n_lines_before: int
    has_decimal_comma: bool


def scan_csv(path: Path, keys: list[str], features: str) -> pl.LazyFrame:
    """Returns a CSV file, with its key columns as text.

    Args:
        path: the file.
        keys: columns that are read as text: a plate may be called 0012.
        features: regular expression for the whole name of a feature column.

    Raises:
        ProfilesError: numbers with a decimal comma and others with a point are in one file.
        OSError: it cannot be read.
    """
    form = form_of(path, features)
    bare = partial(pl.scan_csv, path, separator=form.separator, skip_rows=form.n_lines_before)
    header = bare(n_rows=0, infer_schema=False).collect_schema().names()
    as_text = {name: pl.String() for name in keys if name in header}
    frame = bare(
        infer_schema_length=None,
        null_values=NAN_WORDS,
        schema_overrides=as_text,
        decimal_comma=form.has_decimal_comma,
    )
    return _with_points(path, frame, keys, features) if form.has_decimal_comma else frame


def form_of(path: Path, features: str) -> Form:
    """Returns how a CSV file is written.

    Args:
        path: the file.
        features: regular expression for the whole name of a feature column; decimals are looked for in these columns.

    Raises:
        OSError: it cannot be read.
    """
    lines, n_before, separator = table_separator(_first_lines(path) or [""])
    try:
        header, *rows = list(csv.reader(lines, delimiter=separator)) or [[]]
    except csv.Error as error:
        message = f"not a table between its double quotes ({error})"
        raise OSError(message) from error
    wanted = [index for index, name in enumerate(header) if re.fullmatch(features, name.strip())]
    cells = (row[index] for row in rows for index in wanted if index < len(row))
    return Form(separator, n_before, separator != "," and any(map(DECIMAL_COMMA.fullmatch, cells)))


def _first_lines(path: Path) -> list[str]:
    is_packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path, "rb") if is_packed else path.open("rb") as stream:
            return [line.decode("utf-8-sig", errors="replace").rstrip("\r\n") for line in islice(stream, N_LINES)]
    except (EOFError, zlib.error) as error:
        message = f"damaged gzip file ({error})"
        raise OSError(message) from error


def _with_points(path: Path, frame: pl.LazyFrame, keys: list[str], features: str) -> pl.LazyFrame:
    """The frame with points in the features that polars took for text, if none of them has a point already."""
    types = frame.collect_schema()
    texts = [n for n, kind in types.items() if kind == pl.String and n not in keys and re.fullmatch(features, n)]
    if not texts:
        return frame
    pointed = frame.select(pl.col(texts).filter(pl.col(texts).str.contains(DECIMAL_POINT)).first()).collect()
    for name, values in pointed.to_dict().items():
        if values[0] is not None:
            message = (
                f"{path}, column {name}: found {values[0]!r}, while other numbers of this file have a decimal comma; "
                "expected one decimal mark and nothing between thousands. Write the table again with decimal points"
            )
            raise ProfilesError(message)
    return frame.with_columns(pl.col(texts).str.replace(",", ".", literal=True))
