"""Pictures of a whole plate: heat maps of measures in the plate's geometry, and a contact sheet of composites.

Arrays in, encoded files out. `plates.py` says what is shown. The pictures are read by people in Dagster's UI, so the
files are small, and each says by itself what it shows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from cellassets.quality.drawing import (
    FAINT,
    INK,
    LABEL_PX,
    PAPER,
    QUIET,
    Colour,
    PlateGrid,
    draw_labels,
    encode,
    font,
    scale_colour,
)

MARGIN_PX, HEADER_PX, TITLE_PX, SCALE_PX, LINE_PX = 20, 62, 26, 34, 24
PANEL_WIDTH_PX, PANEL_COLUMNS, MAX_CELL_PX = 560, 2, 48
SHEET_WIDTH_PX, MIN_SHEET_CELL_PX, JPEG_QUALITY = 1440, 24, 80
SHOWN_PERCENTILES = (2, 98)
Corner = tuple[int, int]


@dataclass(frozen=True)
class Heading:
    """The two lines above a picture: which plate, and what is to be known about it."""

    title: str
    subtitle: str


@dataclass(frozen=True)
class Panel:
    """One heat map: what it shows, with its unit, and one value per well; wells with NaN are left empty."""

    title: str
    values: Float[np.ndarray, "well"]


@dataclass(frozen=True)
class Flags:
    """Flagged wells.

    Attributes:
        colours: colour of the main reason of each well; None for a well without a flagged site.
        legend: what each colour means, in the order to show.
    """

    colours: Sequence[Colour | None]
    legend: Mapping[str, Colour]


def heat_maps(grid: PlateGrid, heading: Heading, panels: Sequence[Panel], flags: Flags) -> bytes:
    """Returns a PNG: the flagged wells with a legend, then one heat map per measure, each with its own colour scale.

    Args:
        grid: geometry of the plate.
        heading: the lines above.
        panels: the measures. Flagged wells have a frame in each.
        flags: the flagged wells.
    """
    side = min(MAX_CELL_PX, max(4, (PANEL_WIDTH_PX - LABEL_PX) // grid.n_columns))
    height = TITLE_PX + LABEL_PX + side * grid.n_rows + SCALE_PX
    n_lines = 1 + -(-len(panels) // PANEL_COLUMNS)
    first_height = max(height, TITLE_PX + LABEL_PX + LINE_PX * len(flags.legend))
    size = (
        PANEL_COLUMNS * (PANEL_WIDTH_PX + MARGIN_PX) + MARGIN_PX,
        HEADER_PX + first_height + (n_lines - 1) * (height + MARGIN_PX) + MARGIN_PX,
    )
    page = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    _draw_heading(draw, heading)
    _draw_flags(draw, (MARGIN_PX, HEADER_PX), side, grid, flags)
    _draw_legend(draw, (2 * MARGIN_PX + PANEL_WIDTH_PX, HEADER_PX + TITLE_PX + LABEL_PX), flags.legend)
    for number, panel in enumerate(panels):
        left = MARGIN_PX + (number % PANEL_COLUMNS) * (PANEL_WIDTH_PX + MARGIN_PX)
        top = HEADER_PX + first_height + (number // PANEL_COLUMNS) * (height + MARGIN_PX)
        _draw_panel(draw, (left, top), side, grid, panel)
        _draw_frames(draw, (left + LABEL_PX, top + TITLE_PX + LABEL_PX), (side, side), grid, flags)
    return encode(page, "PNG", optimize=True)


def contact_sheet(
    grid: PlateGrid, heading: Heading, thumbnails: Sequence[UInt8[np.ndarray, "y x 3"]], flags: Flags
) -> bytes:
    """Returns a JPEG with one picture per well in the plate's geometry.

    Args:
        grid: geometry of the plate.
        heading: the lines above.
        thumbnails: one picture per well, all of one shape; they are scaled without changing their proportions.
        flags: the flagged wells, which get a frame.
    """
    width = max(MIN_SHEET_CELL_PX, (SHEET_WIDTH_PX - LABEL_PX - 2 * MARGIN_PX) // grid.n_columns)
    cell = (width, _height_of(width, thumbnails))
    foot = LINE_PX * len(flags.legend) + MARGIN_PX
    size = (
        LABEL_PX + cell[0] * grid.n_columns + 2 * MARGIN_PX,
        HEADER_PX + LABEL_PX + cell[1] * grid.n_rows + MARGIN_PX + foot,
    )
    page = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    _draw_heading(draw, heading)
    corner = (MARGIN_PX, HEADER_PX)
    draw_labels(draw, corner, grid, cell)
    left, top = corner[0] + LABEL_PX, corner[1] + LABEL_PX
    draw.rectangle((left, top, left + cell[0] * grid.n_columns - 2, top + cell[1] * grid.n_rows - 2), fill=FAINT)
    for row, column, picture in zip(grid.rows, grid.columns, thumbnails, strict=True):
        small = Image.fromarray(picture).resize((cell[0] - 2, cell[1] - 2), Image.Resampling.LANCZOS)
        page.paste(small, (left + cell[0] * int(column), top + cell[1] * int(row)))
    _draw_frames(draw, (left, top), cell, grid, flags, width=2 if min(cell) < MAX_CELL_PX else 4)
    _draw_legend(draw, (left, top + cell[1] * grid.n_rows + MARGIN_PX), flags.legend)
    return encode(page, "JPEG", quality=JPEG_QUALITY)


def _height_of(width: int, thumbnails: Sequence[UInt8[np.ndarray, "y x 3"]]) -> int:
    height, length = thumbnails[0].shape[:2] if thumbnails else (1, 1)
    return max(4, round(width * height / length))


def _draw_heading(draw: ImageDraw.ImageDraw, heading: Heading) -> None:
    draw.text((MARGIN_PX, 10), heading.title, INK, font(20.0))
    draw.text((MARGIN_PX, 36), heading.subtitle, QUIET, font(13.0))


def _draw_flags(draw: ImageDraw.ImageDraw, corner: Corner, side: int, grid: PlateGrid, flags: Flags) -> None:
    x0, y0 = _draw_plate(draw, corner, side, grid, "Flagged wells, by reason")
    for row, column, colour in zip(grid.rows, grid.columns, flags.colours, strict=True):
        x, y = x0 + side * int(column), y0 + side * int(row)
        draw.rectangle((x, y, x + side - 2, y + side - 2), fill=colour or PAPER, outline=None if colour else FAINT)


def _draw_panel(draw: ImageDraw.ImageDraw, corner: Corner, side: int, grid: PlateGrid, panel: Panel) -> None:
    x0, y0 = _draw_plate(draw, corner, side, grid, panel.title)
    finite = panel.values[np.isfinite(panel.values)]
    low, high = np.percentile(finite, SHOWN_PERCENTILES) if finite.size else (0.0, 0.0)
    for row, column, value in zip(grid.rows, grid.columns, panel.values, strict=True):
        if np.isfinite(value):
            x, y = x0 + side * int(column), y0 + side * int(row)
            colour = scale_colour((value - low) / (high - low) if high > low else 0.0)
            draw.rectangle((x, y, x + side - 2, y + side - 2), fill=colour)
    _draw_scale(draw, (x0, y0 + side * grid.n_rows + 6), finite, (float(low), float(high)))


def _draw_plate(draw: ImageDraw.ImageDraw, corner: Corner, side: int, grid: PlateGrid, title: str) -> Corner:
    """Draws title, labels and empty wells; returns where the wells start."""
    left, top = corner
    draw.text((left + LABEL_PX, top), title, INK, font(15.0))
    draw_labels(draw, (left, top + TITLE_PX), grid, (side, side))
    x0, y0 = left + LABEL_PX, top + TITLE_PX + LABEL_PX
    draw.rectangle((x0, y0, x0 + side * grid.n_columns - 2, y0 + side * grid.n_rows - 2), fill=FAINT)
    return x0, y0


def _draw_frames(
    draw: ImageDraw.ImageDraw, corner: Corner, cell: tuple[int, int], grid: PlateGrid, flags: Flags, *, width: int = 2
) -> None:
    """Frames the flagged wells in the colour of their reason."""
    for row, column, colour in zip(grid.rows, grid.columns, flags.colours, strict=True):
        if colour is not None:
            x, y = corner[0] + cell[0] * int(column), corner[1] + cell[1] * int(row)
            draw.rectangle((x - 1, y - 1, x + cell[0] - 1, y + cell[1] - 1), outline=colour, width=width)


def _draw_legend(draw: ImageDraw.ImageDraw, corner: Corner, legend: Mapping[str, Colour]) -> None:
    left, top = corner
    for number, (meaning, colour) in enumerate(legend.items()):
        y = top + LINE_PX * number
        draw.rectangle((left, y + 2, left + 13, y + 15), fill=colour)
        draw.text((left + 22, y), meaning, INK, font(14.0))


def _draw_scale(
    draw: ImageDraw.ImageDraw, corner: Corner, values: Float[np.ndarray, "well"], ends: tuple[float, float]
) -> None:
    """Draws the colour scale; where wells lie beyond its ends, it says how far."""
    left, top = corner
    text, bar = font(12.0), 160
    for x in range(bar):
        draw.line((left + x, top, left + x, top + 9), fill=scale_colour(x / (bar - 1)))
    words = f"{ends[0]:.3g} to {ends[1]:.3g}" if ends[0] < ends[1] else f"{ends[0]:.3g} in all wells"
    if values.size and (values.min() < ends[0] or values.max() > ends[1]):
        words += f" (all wells: {values.min():.3g} to {values.max():.3g})"
    draw.text((left + bar + 8, top - 3), words, INK, text)
