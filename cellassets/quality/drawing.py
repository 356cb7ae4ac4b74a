"""Parts of the pictures of plates: the grid of wells with its labels, colours, fonts, and encoding.

`pictures.py` makes whole pictures of them.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer
from PIL import Image, ImageDraw, ImageFont

from cellassets.screens.well import infer_geometry, row_letters, well_place

Colour = tuple[int, int, int]
PAPER, INK, QUIET, FAINT = (255, 255, 255), (32, 36, 42), (110, 116, 124), (226, 229, 233)
# Source: viridis (Smith and van der Walt, 2015; CC0) at nine even steps
VIRIDIS = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ]
)
LABEL_PX = 26


@dataclass(frozen=True)
class PlateGrid:
    """Geometry of a plate: its numbers of rows and columns, and row and column of each well, 0-based."""

    n_rows: int
    n_columns: int
    rows: Integer[np.ndarray, "well"]
    columns: Integer[np.ndarray, "well"]


def plate_grid(well_ids: Sequence[str]) -> PlateGrid:
    """Returns the smallest standard plate that contains the wells, with the place of each well."""
    n_rows, n_columns = infer_geometry(well_ids)
    places = np.array([well_place(well_id) for well_id in well_ids]).reshape(-1, 2)
    return PlateGrid(n_rows, n_columns, places[:, 0], places[:, 1])


def draw_labels(draw: ImageDraw.ImageDraw, corner: tuple[int, int], grid: PlateGrid, cell: tuple[int, int]) -> None:
    """Draws row letters and column numbers above and left of the wells; some are left out where they would touch.

    Args:
        draw: the page.
        corner: left and top of the labels; the wells start `LABEL_PX` to the right and below.
        grid: geometry of the plate.
        cell: width and height of a well.
    """
    left, top = corner[0] + LABEL_PX, corner[1] + LABEL_PX
    text = font(float(min(12, max(9, min(cell) - 4))))
    for row in range(0, grid.n_rows, _label_step(cell[1], 11)):
        draw.text((left - 5, top + cell[1] * (row + 0.5)), row_letters(row), INK, text, anchor="rm")
    for column in range(0, grid.n_columns, _label_step(cell[0], 15)):
        draw.text((left + cell[0] * (column + 0.5), top - 5), str(column + 1), INK, text, anchor="mb")


def _label_step(cell_px: int, needed_px: int) -> int:
    return -(-needed_px // cell_px)


def scale_colour(share: float) -> Colour:
    """Returns the colour of a value between the ends of a scale, 0 to 1; values beyond have the colour of the end."""
    place = min(max(share, 0.0), 1.0) * (len(VIRIDIS) - 1)
    below = min(int(place), len(VIRIDIS) - 2)
    red, green, blue = VIRIDIS[below] + (VIRIDIS[below + 1] - VIRIDIS[below]) * (place - below)
    return round(red), round(green), round(blue)


def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Returns the font of all pictures in a size in pixels."""
    return ImageFont.load_default(size)


def encode(page: Image.Image, form: str, **options: int | bool) -> bytes:
    """Returns a page as a file of the form PNG or JPEG."""
    buffer = io.BytesIO()
    page.save(buffer, form, **options)
    return buffer.getvalue()
