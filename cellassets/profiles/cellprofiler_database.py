"""CellProfiler's SQLite output: tables Image, Cells, Cytoplasm and Nuclei, joined into one row per cell.

A database of a plate can have more cells than fit into memory, and more columns than one SELECT may have. So images are
read in groups, one compartment at a time, and what is done with a group (its median) is the caller's.

Source: cytominer-database, and `SingleCells` of pycytominer, which joins by the parents of the cytoplasm.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl

from cellassets.errors import ProfilesError
from cellassets.profiles.keys import raw_name

SUFFIXES = (".sqlite", ".sqlite3", ".db")
IMAGE_TABLE = "Image"
COMPARTMENTS = ("Cells", "Cytoplasm", "Nuclei")
IMAGE_NUMBERS = ("TableNumber", "ImageNumber")
PARENTS = {"Cells": "Cytoplasm_Parent_Cells", "Nuclei": "Cytoplasm_Parent_Nuclei"}
OBJECT = "ObjectNumber"


class CellProfilerDatabase:
    """One SQLite file, opened for reading.

    Attributes:
        path: the file.
        image_numbers: the columns that identify an image: TableNumber, where there is one, and ImageNumber.
        columns: columns of each table.
    """

    def __init__(self, path: Path) -> None:
        """Opens a database and looks at its tables.

        Raises:
            ProfilesError: it is not SQLite, or lacks a table or a column that cells are joined by.
        """
        self.path = path
        self._known_ranges: dict[str, dict[tuple[Any, ...], tuple[int, int]]] = {}
        tables = (IMAGE_TABLE, *COMPARTMENTS)
        self.columns = {name: [row[1] for row in self._rows(f"PRAGMA table_info({_quoted(name)})")] for name in tables}
        missing = [name for name in tables if not self.columns[name]]
        if missing:
            found = ", ".join(row[0] for row in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'"))
            message = f"{path}: no table {missing[0]}; expected {', '.join(tables)}, found {found or 'no table'}"
            raise ProfilesError(message)
        self.image_numbers = [name for name in IMAGE_NUMBERS if name in self.columns[IMAGE_TABLE]]
        for table in tables:
            needed = ["ImageNumber", *self.image_numbers, *([OBJECT] if table != IMAGE_TABLE else [])]
            lacking = [name for name in needed if name not in self.columns[table]]
            if lacking:
                message = (
                    f"{path}, table {table}: no column {lacking[0]}, by which cells are joined with images and with "
                    "each other"
                )
                raise ProfilesError(message)

    def cell_columns(self) -> list[str]:
        """Returns the columns of all compartments."""
        return [name for table in COMPARTMENTS for name in self.columns[table]]

    def images(self, names: Sequence[str]) -> pl.DataFrame:
        """Returns these columns of the table Image as text, under their `raw_name`, with the numbers of each image."""
        chosen = list(dict.fromkeys([*self.image_numbers, *names]))
        rows = self._rows(f"SELECT {', '.join(map(_quoted, chosen))} FROM {IMAGE_TABLE}")  # noqa: S608  quoted names
        images = pl.DataFrame(rows, schema=chosen, orient="row", infer_schema_length=None)
        texts = [pl.col(name).cast(pl.String).str.strip_chars().alias(raw_name(name)) for name in names]
        return images.select(*self.image_numbers, *texts)

    def cells(self, images: pl.DataFrame, features: Sequence[str]) -> pl.DataFrame:
        """Returns one row per cell of some images: their columns, and the features of all compartments.

        Cells without a nucleus or a cytoplasm are left out. The frame has no row and no feature where no cell is left.

        Args:
            images: rows of `images()`.
            features: columns of any compartment.
        """
        parts = {table: self._compartment(table, images, features) for table in COMPARTMENTS}
        if any(part.is_empty() for part in parts.values()):
            return images.clear()
        cytoplasm = parts["Cytoplasm"]
        for table in ("Cells", "Nuclei"):
            own = parts[table]
            parent = PARENTS[table] if PARENTS[table] in cytoplasm.columns else OBJECT
            cytoplasm = cytoplasm.join(
                own, left_on=[*self.image_numbers, parent], right_on=[*self.image_numbers, OBJECT], how="inner"
            )
        return images.join(cytoplasm, on=self.image_numbers, how="inner")

    def _compartment(self, table: str, images: pl.DataFrame, features: Sequence[str]) -> pl.DataFrame:
        """The features of one compartment in some images, with the numbers of image and object, and the parents."""
        own = [name for name in features if name in self.columns[table]]
        parents = [name for name in PARENTS.values() if name in self.columns[table] and name not in own]
        chosen = [*self.image_numbers, OBJECT, *parents, *own]
        place = f"({', '.join(map(_quoted, self.image_numbers))})"
        ranges = self._ranges(table)
        numbers = [image for image in images.select(self.image_numbers).unique().rows() if image in ranges]
        if not numbers:
            return pl.DataFrame(schema=chosen)
        holes = ", ".join(f"({', '.join('?' * len(self.image_numbers))})" for _ in numbers)
        query = f"SELECT {', '.join(map(_quoted, chosen))} FROM {_quoted(table)} WHERE rowid BETWEEN ? AND ?"  # noqa: S608
        first, last = min(ranges[image][0] for image in numbers), max(ranges[image][1] for image in numbers)
        values = [first, last, *(value for image in numbers for value in image)]
        rows = self._rows(f"{query} AND {place} IN (VALUES {holes})", values)
        found = pl.DataFrame(rows, schema=chosen, orient="row", infer_schema_length=None)
        return found.with_columns(pl.col(OBJECT, *parents).cast(pl.Int64, strict=False))  # some are written as 3.0

    def _ranges(self, table: str) -> dict[tuple[Any, ...], tuple[int, int]]:
        """The first and last row of each image in a table, which has image after image and no index."""
        if table not in self._known_ranges:
            numbers = ", ".join(map(_quoted, self.image_numbers))
            query = f"SELECT MIN(rowid), MAX(rowid), {numbers} FROM {_quoted(table)} GROUP BY {numbers}"  # noqa: S608
            self._known_ranges[table] = {tuple(image): (first, last) for first, last, *image in self._rows(query)}
        return self._known_ranges[table]

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            with closing(sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
                return connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            message = f"{self.path}: cannot be read as SQLite: {error}; expected the database that CellProfiler wrote"
            raise ProfilesError(message) from error


def groups_of_images(images: pl.DataFrame, keys: Sequence[str], *, n_images: int) -> Iterator[pl.DataFrame]:
    """Yields the images in groups of about this size; images with the same keys are in one group.

    Args:
        images: rows of `CellProfilerDatabase.images`.
        keys: columns whose values belong together, such as plate, well and site.
        n_images: a group is closed when it has this number of images.
    """
    waiting: list[pl.DataFrame] = []
    for _, rows in images.group_by(keys, maintain_order=True):
        waiting.append(rows)
        if sum(part.height for part in waiting) >= n_images:
            yield pl.concat(waiting)
            waiting = []
    if waiting:
        yield pl.concat(waiting)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
