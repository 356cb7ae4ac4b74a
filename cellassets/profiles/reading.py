"""Finds the files of a table, and opens Parquet as polars reads it and CSV by `csv_tables.py`.

What comes out is lazy: key columns are text, nothing else is changed. `feature_columns.py` and `keys.py` interpret it.
`cellprofiler_database.py` reads SQLite, `anndata_tables.py` reads AnnData.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from cellassets.errors import ProfilesError
from cellassets.profiles.cellprofiler_database import SUFFIXES as DATABASE_SUFFIXES
from cellassets.profiles.csv_tables import scan_csv
from cellassets.profiles.declaration import ProfilesSpec
from cellassets.profiles.keys import as_text, key_names
from cellassets.tables.anndata_package import SUFFIXES as ANNDATA_SUFFIXES

DOUBLED = re.compile(r"(.+)_duplicated_[0-9]+")  # polars' name for the second column of one name


def table_files(declared: str, beside: Path) -> list[Path]:
    """Returns the files of a table, sorted; a `.zarr` folder counts as a file.

    Args:
        declared: path or pattern, relative to `beside`.
        beside: folder of the declaration.

    Raises:
        ProfilesError: there is no such file, or it is of an unknown kind.
    """
    has_pattern = any(mark in declared for mark in "*?[")
    found = sorted(beside.glob(declared)) if has_pattern else [beside / declared]
    files = [path for path in found if path.is_file() or (path.is_dir() and is_anndata(path))]
    if not files:
        message = f"{beside / declared}: no such file; expected the table that `table` of the declaration names"
        raise ProfilesError(message)
    unknown = [path for path in files if not (is_database(path) or is_anndata(path) or _scanner(path))]
    if unknown:
        known = ".parquet, .csv, .csv.gz, .h5ad, .zarr, .sqlite or .db"
        message = f"{unknown[0]}: not a known kind of table; expected {known}"
        raise ProfilesError(message)
    return files


def is_database(path: Path) -> bool:
    """Returns true for a file that is read as SQLite."""
    return path.suffix.lower() in DATABASE_SUFFIXES


def is_anndata(path: Path) -> bool:
    """Returns true for a file or a folder that is read as AnnData."""
    return path.suffix.lower() in ANNDATA_SUFFIXES


def open_table(path: Path, spec: ProfilesSpec) -> pl.LazyFrame:
    """Returns one CSV or Parquet file, with its key columns as text under their `raw_name`.

    Raises:
        ProfilesError: it cannot be read, lacks a key column, or has two columns of one name.
    """
    scan = _scanner(path)
    assert scan is not None, path  # noqa: S101  table_files refuses others
    with reading(path):
        frame = scan(path, key_names(spec), spec.features)
        columns = frame.collect_schema()
    doubled = next((match[1] for name in columns if (match := DOUBLED.fullmatch(name))), None)
    if doubled is not None:
        message = f"{path}: two columns are called {doubled!r}; rename or remove one"
        raise ProfilesError(message)
    require_columns(path, list(columns), key_names(spec))
    return frame.with_columns(as_text(name, columns[name]) for name in key_names(spec))


def require_columns(path: Path, columns: list[str], needed: list[str]) -> None:
    """Returns nothing if a table has these columns.

    Raises:
        ProfilesError: it lacks one; the message shows the columns that could be meant.
    """
    missing = [name for name in needed if name not in columns]
    if missing:
        alike = [name for name in columns if "metadata" in name.lower()] or columns
        message = (
            f"{path}: no column {missing[0]!r}, which the declaration names in `keys` or `controls`; it has "
            f"{', '.join(alike[:12])}. Name the column that it has"
        )
        raise ProfilesError(message)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what polars raises about a file into a `ProfilesError` that names it."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        message = f"{path}: cannot be read as a table: {error}; write it again as Parquet or CSV"
        raise ProfilesError(message) from error


def _scanner(path: Path) -> Callable[[Path, list[str], str], pl.LazyFrame] | None:
    """What opens a file, by the end of its name; None for a file of another kind."""
    name = path.name.lower()
    if name.endswith((".parquet", ".pq")):
        return lambda file, _, __: pl.scan_parquet(file)
    return scan_csv if name.endswith((".csv", ".csv.gz")) else None
