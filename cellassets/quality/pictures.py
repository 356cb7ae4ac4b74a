"""Pictures of a whole plate: heat maps of measures in the plate's geometry, and a contact sheet of composites.

Arrays in, encoded files out. The pictures are shown in Dagster's UI, so the files are small.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image, ImageDraw, ImageFont

from cellassets.screens.well import infer_geometry, well_place

PAPER, INK, FAINT, MARK = (255, 255, 255), (32, 36, 42), (226, 229, 233), (213, 94, 0)
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
PANEL_WIDTH_PX, PANEL_COLUMNS, MARGIN_PX, LABEL_PX, TITLE_PX, SCALE_PX = 420, 2, 16, 22, 24, 30
SHEET_WIDTH_PX, JPEG_QUALITY = 1152, 78


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


def heat_maps(grid: PlateGrid, measures: Mapping[str, Float[np.ndarray, "well"]]) -> bytes:
    """Returns a PNG with one heat map of the plate per measure, each with its own colour scale.

    Args:
        grid: geometry of the plate.
        measures: one value per well, by the title to show; wells with NaN are left empty.
    """
    cell = max(4, (PANEL_WIDTH_PX - LABEL_PX) // grid.n_columns)
    width, height = LABEL_PX + cell * grid.n_columns, TITLE_PX + LABEL_PX + cell * grid.n_rows + SCALE_PX
    n_panel_rows = -(-len(measures) // PANEL_COLUMNS)
    size = (
        PANEL_COLUMNS * (width + MARGIN_PX) + MARGIN_PX,
        n_panel_rows * (height + MARGIN_PX) + MARGIN_PX,
    )
    page = Image.new("RGB", size, PAPER)
    for number, (title, values) in enumerate(measures.items()):
        left = MARGIN_PX + (number % PANEL_COLUMNS) * (width + MARGIN_PX)
        top = MARGIN_PX + (number // PANEL_COLUMNS) * (height + MARGIN_PX)
        _draw_panel(page, (left, top), cell, grid, title, values)
    return _encode(page, "PNG", optimize=True)


def contact_sheet(
    grid: PlateGrid, thumbnails: Sequence[UInt8[np.ndarray, "y x 3"]], *, marked: Sequence[bool]
) -> bytes:
    """Returns a JPEG with one picture per well in the plate's geometry.

    Args:
        grid: geometry of the plate.
        thumbnails: one picture per well; they are scaled to fit.
        marked: true for the wells that get a coloured frame.
    """
    cell = max(16, (SHEET_WIDTH_PX - LABEL_PX) // grid.n_columns)
    page = Image.new("RGB", (LABEL_PX + cell * grid.n_columns, LABEL_PX + cell * grid.n_rows), PAPER)
    draw = ImageDraw.Draw(page)
    _draw_labels(draw, (0, 0), cell, grid)
    for row, column, picture, is_marked in zip(grid.rows, grid.columns, thumbnails, marked, strict=True):
        place = LABEL_PX + cell * int(column), LABEL_PX + cell * int(row)
        page.paste(Image.fromarray(picture).resize((cell - 2, cell - 2), Image.Resampling.LANCZOS), place)
        if is_marked:
            draw.rectangle((*place, place[0] + cell - 3, place[1] + cell - 3), outline=MARK, width=2)
    return _encode(page, "JPEG", quality=JPEG_QUALITY)


def _draw_panel(
    page: Image.Image,
    corner: tuple[int, int],
    cell: int,
    grid: PlateGrid,
    title: str,
    values: Float[np.ndarray, "well"],
) -> None:
    draw = ImageDraw.Draw(page)
    left, top = corner
    draw.text((left + LABEL_PX, top), title, fill=INK, font=_font(15.0))
    _draw_labels(draw, (left, top + TITLE_PX), cell, grid)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    x0, y0 = left + LABEL_PX, top + TITLE_PX + LABEL_PX
    draw.rectangle((x0, y0, x0 + cell * grid.n_columns - 1, y0 + cell * grid.n_rows - 1), fill=FAINT)
    for row, column, value in zip(grid.rows, grid.columns, values, strict=True):
        if np.isfinite(value):
            x, y = x0 + cell * int(column), y0 + cell * int(row)
            colour = _colour((value - low) / (high - low) if high > low else 0.5)
            draw.rectangle((x, y, x + cell - 2, y + cell - 2), fill=colour)
    _draw_scale(draw, (x0, y0 + cell * grid.n_rows + 6), cell * grid.n_columns, low, high)


def _draw_labels(draw: ImageDraw.ImageDraw, corner: tuple[int, int], cell: int, grid: PlateGrid) -> None:
    """Draws row letters and column numbers; only every second one where they would touch."""
    left, top = corner
    font = _font(float(min(11, max(7, cell - 4))))
    step = 1 if cell >= 14 else 2
    for row in range(0, grid.n_rows, step):
        draw.text((left + LABEL_PX - 5, top + LABEL_PX + cell * (row + 0.5)), _letters(row), INK, font, anchor="rm")
    for column in range(0, grid.n_columns, step):
        draw.text(
            (left + LABEL_PX + cell * (column + 0.5), top + LABEL_PX - 5), str(column + 1), INK, font, anchor="mb"
        )


def _draw_scale(draw: ImageDraw.ImageDraw, corner: tuple[int, int], width: int, low: float, high: float) -> None:
    left, top = corner
    font = _font(11.0)
    bar = width // 3
    for x in range(bar):
        draw.line((left + x, top, left + x, top + 7), fill=_colour(x / max(bar - 1, 1)))
    draw.text((left + bar + 8, top - 3), f"{low:.3g} to {high:.3g}", INK, font)


def _letters(row: int) -> str:
    """Returns the letters of a 0-based row: A, B, ..., Z, AA, AB, ..."""
    return ("" if row < 26 else chr(ord("A") + row // 26 - 1)) + chr(ord("A") + row % 26)


def _colour(share: float) -> tuple[int, int, int]:
    place = min(max(share, 0.0), 1.0) * (len(VIRIDIS) - 1)
    below = min(int(place), len(VIRIDIS) - 2)
    red, green, blue = VIRIDIS[below] + (VIRIDIS[below + 1] - VIRIDIS[below]) * (place - below)
    return round(red), round(green), round(blue)


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _encode(page: Image.Image, form: str, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    page.save(buffer, form, **options)
    return buffer.getvalue()
