"""Well names: row letters and column number, from A01 to AF48 on a plate of 1,536 wells."""

import re
from collections.abc import Sequence

from cellassets.errors import LayoutError

PATTERN = re.compile(r"([A-Za-z]{1,2})0*([1-9][0-9]?)")
GEOMETRIES = ((8, 12), (16, 24), (32, 48))


def normalise_well(name: str) -> str:
    """Returns a well name in the form B07; accepted forms are b7, B7, B07 and B007.

    Raises:
        LayoutError: the name is not made of row letters and a column number.
    """
    match = PATTERN.fullmatch(name.strip())
    if match is None:
        message = f"well {name!r}: expected row letters and a column number, such as B07"
        raise LayoutError(message)
    return f"{match[1].upper()}{int(match[2]):02d}"


def well_name(row: int, column: int) -> str:
    """Returns the name of a well from its row and column, both counted from 1: (2, 7) is B07.

    Raises:
        LayoutError: there is no such place on a plate.
    """
    if not (1 <= row <= GEOMETRIES[-1][0] and 1 <= column <= GEOMETRIES[-1][1]):
        message = (
            f"row {row}, column {column}: expected rows 1 to {GEOMETRIES[-1][0]}, columns 1 to {GEOMETRIES[-1][1]}"
        )
        raise LayoutError(message)
    return f"{row_letters(row - 1)}{column:02d}"


def well_place(well_id: str) -> tuple[int, int]:
    """Returns row and column of a normalised well name, both 0-based: B07 is (1, 6)."""
    letters = well_id.rstrip("0123456789")
    row = 0
    for letter in letters:
        row = 26 * row + ord(letter) - ord("A") + 1
    return row - 1, int(well_id[len(letters) :]) - 1


def row_letters(row: int) -> str:
    """Returns the letters of a row, counted from 0: 1 is B, 31 is AF."""
    return ("" if row < 26 else chr(ord("A") + row // 26 - 1)) + chr(ord("A") + row % 26)


def infer_geometry(well_ids: Sequence[str]) -> tuple[int, int]:
    """Returns rows and columns of the smallest standard plate (96, 384, 1,536 wells) that contains these wells.

    Wells outside the largest standard plate are ignored.
    """
    most_rows, most_columns = GEOMETRIES[-1]
    places = [(row, column) for row, column in map(well_place, well_ids) if row < most_rows and column < most_columns]
    n_rows = 1 + max((row for row, _ in places), default=0)
    n_columns = 1 + max((column for _, column in places), default=0)
    return next((rows, columns) for rows, columns in GEOMETRIES if n_rows <= rows and n_columns <= columns)
