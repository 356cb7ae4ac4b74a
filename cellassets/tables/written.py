"""Reads tables that people and instruments wrote, in whatever form their program saved them.

Accepted are UTF-8 and UTF-16 with or without a byte order mark, any line ends, and commas, semicolons or tabs between
cells. Blanks around cells are removed and words for a missing value become null. What cannot be read for certain is
refused with file and line: a line with more or fewer cells than the header, an open quote, two columns of one name.
"""

import csv
import io
import stat

import polars as pl
from upath import UPath

from cellassets.errors import CellAssetsError
from cellassets.storage.artifact import is_local

LINE = "file_line"  # column with the line of the file, from 1
MISSING = ("", "na", "n/a", "#n/a", "nan", "<na>", "null", "none")  # whatever their case
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
OTHER_FORMATS = {
    b"PK\x03\x04": "an Excel workbook or a ZIP file; save the sheet as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save the sheet as CSV (UTF-8)",
    b"\x1f\x8b": "compressed; unpack it",
    b"PAR1": "a Parquet file; save it as CSV",
}
INVISIBLE = "[\u200b\u200c\u200d\u2060\ufeff]"  # no blanks to Unicode, and in no name on purpose
HEADER_BYTES = 65536
N_SHOWN = 60  # characters of a line in a message


def read_written(path: UPath, refusal: type[CellAssetsError]) -> pl.DataFrame:
    """Returns a table whose columns are text or null, with the line of each row in the column `LINE`.

    Lines without a value are left out, and so are columns without a name, as spreadsheets and pandas add them.

    Args:
        path: the file.
        refusal: error to raise about its content.

    Raises:
        FileNotFoundError: there is no such file.
        CellAssetsError: as `refusal`; it is not a table, or not text. The message names file and line.
    """
    return parse_written(read_regular(path, refusal), str(path), refusal)


def parse_written(content: bytes, name: str, refusal: type[CellAssetsError]) -> pl.DataFrame:
    """Returns the same from the bytes of a file."""
    lines = _text(content, name, refusal).split("\n")
    lines, n_before, separator = table_separator(lines)
    rows = _quoted(lines, separator, name, refusal) if any('"' in line for line in lines) else _plain(lines, separator)
    rows = rows.with_columns(pl.col(LINE) + n_before).filter(pl.col("cells").list.eval(_has_value()).list.any())
    if rows.is_empty():
        message = f"{name}: an empty table; expected a header and a row for each entry below it"
        raise refusal(message)
    header, rows = [_clean_text(cell) for cell in rows["cells"][0]], rows[1:]
    _refuse_doubled(header, name, refusal)
    beyond = pl.col("cells").list.slice(len(header)).list.eval(_has_value()).list.any()
    uneven = rows.filter((pl.col("cells").list.len() < len(header)) | beyond)
    if uneven.height:
        line, cells = uneven.row(0)
        found = separator.join(cells)[:N_SHOWN]
        message = (
            f"{name}, line {line}: {len(cells)} cells, the header has {len(header)} ({uneven.height} such lines); "
            f"found {found!r}. Put cells that contain {separator!r} between double quotes"
        )
        raise refusal(message)
    cells = pl.col("cells").list
    named = [(index, column) for index, column in enumerate(header) if column and column != LINE]
    return rows.select(LINE, *(_cleaned_or_null(cells.get(index)).alias(column) for index, column in named))


def written_header(path: UPath, refusal: type[CellAssetsError]) -> list[str]:
    """Returns the cells of the first line that is not blank, without reading the rest of a long table.

    Raises:
        FileNotFoundError: there is no such file.
        CellAssetsError: as `refusal`; it is not a file.
    """
    require_regular(path, refusal)
    with path.open("rb") as stream:
        start = stream.read(HEADER_BYTES)
    lines = _line_feeds(start.decode(_encoding(start), errors="replace")).split("\n")
    lines, _, separator = table_separator(lines)
    header = next((line for line in lines if line.strip()), "")
    return [_clean_text(cell) for cell in next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])]


def written_lines(path: UPath, refusal: type[CellAssetsError]) -> list[tuple[int, list[str]]]:
    """Returns the number of each line that is not blank, and its cells between tabs, without blanks around them.

    Raises:
        FileNotFoundError: there is no such file.
        CellAssetsError: as `refusal`; it is not text.
    """
    lines = _text(read_regular(path, refusal), str(path), refusal).split("\n")
    cells = ((number, [_clean_text(cell) for cell in line.split("\t")]) for number, line in enumerate(lines, start=1))
    return [(number, found) for number, found in cells if any(found)]


def table_separator(lines: list[str]) -> tuple[list[str], int, str]:
    """Returns the lines of the table, the number of lines before them, and what separates its cells.

    Args:
        lines: the first lines of a file, or all; at least one.
    """
    first = lines[0].strip().lower()
    if first.startswith("sep=") and len(first) <= len("sep=,"):  # written by Excel
        return lines[1:], 1, lines[0].strip("\n ")[4:] or "\t"
    header = next((line for line in lines if line.strip()), "")
    return lines, 0, "\t" if "\t" in header else max(",;", key=header.count)


def read_regular(path: UPath, refusal: type[CellAssetsError]) -> bytes:
    """Returns the bytes of a file; a folder, a pipe or a device is refused and not opened.

    Raises:
        FileNotFoundError: there is no such file.
        CellAssetsError: as `refusal`; it is not a file.
    """
    require_regular(path, refusal)
    return path.read_bytes()


def require_regular(path: UPath, refusal: type[CellAssetsError]) -> None:
    """Raises an error if a path is not a file: reading from a pipe or a device may never end.

    Raises:
        FileNotFoundError: there is no such file.
        CellAssetsError: as `refusal`; it is a folder, a pipe, a socket or a device.
    """
    is_file = stat.S_ISREG(path.stat().st_mode) if is_local(path) else not path.is_dir()
    if not is_file:
        message = f"{path}: not a file; remove it, or put the table in its place"
        raise refusal(message)


def _text(content: bytes, name: str, refusal: type[CellAssetsError]) -> str:
    """Returns the text of a file, with one line feed between lines."""
    other = next((what for start, what in OTHER_FORMATS.items() if content.startswith(start)), None)
    if other is not None:
        message = f"{name}: expected text, found {other}"
        raise refusal(message)
    encoding = _encoding(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        found = content[error.start : error.start + 1]
        message = f"{name}, line {line}: not {encoding.upper()} text ({found!r}); save the table as CSV (UTF-8)"
        raise refusal(message) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        message = f"{name}, line {line}: a zero byte, which text does not have; save the table as CSV (UTF-8)"
        raise refusal(message)
    return _line_feeds(text)


def _encoding(content: bytes) -> str:
    return next((encoding for mark, encoding in MARKS.items() if content.startswith(mark)), "utf-8")


def _line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _plain(lines: list[str], separator: str) -> pl.DataFrame:
    text = pl.Series("cells", lines, dtype=pl.String)
    return (
        pl.DataFrame([text])
        .with_row_index(LINE, offset=1)
        .select(pl.col(LINE).cast(pl.Int64), pl.col("cells").str.split(separator))
    )


def _quoted(lines: list[str], separator: str, name: str, refusal: type[CellAssetsError]) -> pl.DataFrame:
    reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=separator, strict=True, skipinitialspace=True)
    numbers: list[int] = []
    cells: list[list[str]] = []
    begin = 1
    try:
        for found in reader:
            numbers.append(begin)
            cells.append(found)
            begin = reader.line_num + 1
    except csv.Error as error:
        message = f"{name}, line {begin}: {error}; check the double quotes of the record that begins there"
        raise refusal(message) from error
    return pl.DataFrame({LINE: numbers, "cells": cells}, schema={LINE: pl.Int64, "cells": pl.List(pl.String)})


def _refuse_doubled(header: list[str], name: str, refusal: type[CellAssetsError]) -> None:
    doubled = sorted({column for column in header if column and header.count(column) > 1})
    if doubled:
        message = f"{name}: two columns are called {doubled[0]!r}; rename or remove one"
        raise refusal(message)


def _has_value() -> pl.Expr:
    return pl.element().str.replace_all(INVISIBLE, "").str.strip_chars() != ""


def _cleaned_or_null(cell: pl.Expr) -> pl.Expr:
    text = cell.str.replace_all(INVISIBLE, "").str.strip_chars()
    return pl.when(~text.str.to_lowercase().is_in(MISSING)).then(text)


def _clean_text(cell: str) -> str:
    for mark in INVISIBLE[1:-1]:
        cell = cell.replace(mark, "")
    return cell.strip()
