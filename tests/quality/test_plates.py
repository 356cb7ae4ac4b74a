"""Pictures of plates: geometry, proportions, flagged wells and their legend; every reason has a colour."""

import io

import numpy as np
import polars as pl
import pytest
from PIL import Image

from cellassets.quality import inspect as inspection
from cellassets.quality.drawing import LABEL_PX, plate_grid
from cellassets.quality.inspect import inspect_store
from cellassets.quality.measures import flag_sites
from cellassets.quality.parameters import QualityParameters
from cellassets.quality.pictures import HEADER_PX, MARGIN_PX, TITLE_PX, Flags, Heading, Panel, contact_sheet, heat_maps
from cellassets.quality.plates import REASONS, SHOWN
from cellassets.screens.well import row_letters

HEADING = Heading("HUVEC-1, plate Plate1: 1 of 96 sites flagged", "96 wells")
PLATES = [(8, 12), (16, 24), (32, 48)]


def wells_of(n_rows, n_columns):
    return [f"{row_letters(row)}{column + 1:02d}" for row in range(n_rows) for column in range(n_columns)]


def pixels_of(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def flags_of(n_wells, *flagged):
    colour = REASONS["debris"][0]
    return Flags([colour if well in flagged else None for well in range(n_wells)], {"debris: 1 site": colour})


@pytest.mark.parametrize(("n_rows", "n_columns"), PLATES)
def test_a_flagged_well_has_its_colour_at_its_place_and_a_line_in_the_legend(n_rows, n_columns):
    grid, place = plate_grid(wells_of(n_rows, n_columns)), 3 * n_columns + 5
    panels = [Panel(title, np.arange(n_rows * n_columns, dtype=float)) for title, _ in SHOWN.values()]
    plain, marked = (
        pixels_of(heat_maps(grid, HEADING, panels, flags_of(n_rows * n_columns, *flagged)))
        for flagged in ((), (place,))
    )
    side = min(48, (560 - LABEL_PX) // n_columns)
    x = MARGIN_PX + LABEL_PX + side * 5 + side // 2
    y = HEADER_PX + TITLE_PX + LABEL_PX + side * 3 + side // 2
    assert tuple(marked[y, x]) == REASONS["debris"][0]
    assert tuple(plain[y, x]) == (255, 255, 255)
    changed = np.flatnonzero((plain != marked).any(axis=2).any(axis=1))
    assert changed.max() - changed.min() > 3 * side * n_rows  # the well has a frame in the heat maps below too
    assert (plain == REASONS["debris"][0]).all(axis=2).sum() > 100  # the legend


@pytest.mark.parametrize(("n_rows", "n_columns"), PLATES)
@pytest.mark.parametrize(("height", "width"), [(60, 60), (40, 80)])
def test_sites_keep_their_proportions_in_the_contact_sheet(n_rows, n_columns, height, width):
    grid = plate_grid(wells_of(n_rows, n_columns))
    thumbnails = [np.zeros((height, width, 3), np.uint8) for _ in range(n_rows * n_columns)]
    page = pixels_of(contact_sheet(grid, HEADING, thumbnails, flags_of(len(thumbnails))))
    is_dark = (page < 60).all(axis=2)
    inside = is_dark[HEADER_PX + LABEL_PX + 4 :, MARGIN_PX + LABEL_PX :]
    row, column = inside[2], inside[:, 2]  # along the first row of wells, and down the first column
    lengths = [np.flatnonzero(np.diff(line.astype(int)) == -1)[0] + 1 for line in (row, column)]
    assert lengths[0] / (lengths[1] + 4) == pytest.approx(width / height, rel=0.25)


def test_wells_that_are_not_imaged_stay_grey():
    grid = plate_grid(["A01", "B02"])
    panel = Panel("Nuclei per site", np.array([1.0, np.nan]))
    page = pixels_of(heat_maps(grid, HEADING, [panel], flags_of(2)))
    first = page.shape[0] - MARGIN_PX - 34 - 44 * 8 + 20
    assert tuple(page[first, MARGIN_PX + LABEL_PX + 20]) == (68, 1, 84)
    assert tuple(page[first + 44, MARGIN_PX + LABEL_PX + 44 + 20]) == (226, 229, 233)


def test_every_reason_of_a_flag_has_a_colour_and_a_meaning():
    worst = {"focus": -9.0, "saturation_frac": 0.9, "background": 5000.0, "illumination": 9.0, "debris_frac": 0.9}
    usual = dict.fromkeys(worst, 0.0)
    rows = [{"plate_id": "P", "n_nuclei": 9} | usual] * 30 + [{"plate_id": "P", "n_nuclei": 0} | worst]
    found = flag_sites(pl.DataFrame(rows), QualityParameters())["flag_reason"][-1].split(";")
    assert set(found) == set(REASONS)
    assert len({colour for colour, _ in REASONS.values()}) == len(REASONS)


def test_no_more_sites_are_read_at_once_than_the_bytes_allow(stored, monkeypatch):
    store = stored(lambda image: image)
    whole = inspect_store(store, QualityParameters())
    site_bytes = 6 * store.height * store.width
    read = []
    plain = type(store).read

    def counted(self, indices, **options):
        read.append(len(indices))
        return plain(self, indices, **options)

    monkeypatch.setattr(type(store), "read", counted)
    monkeypatch.setattr(inspection, "BLOCK_BYTES", 2 * site_bytes + 1)
    assert inspect_store(store, QualityParameters()).quality.equals(whole.quality)
    assert max(read) == 2
    n_wells = store.sites.n_unique(["plate_id", "well_id"])
    assert sum(read) == store.n_sites + n_wells + 16  # quality, contact sheets, and the estimate of the diameter
