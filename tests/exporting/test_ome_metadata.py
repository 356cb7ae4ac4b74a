"""Plates of every size get valid metadata: 96 to 1,536 wells, and wells outside the largest standard plate."""

import pytest
import zarr
from ome_zarr_models.v05 import HCS

from cellassets.exporting.ome_metadata import well_path
from cellassets.exporting.ome_zarr import export_ome_zarr
from cellassets.exporting.selection import Place
from cellassets.screens.well import row_letters, well_place


@pytest.mark.parametrize(("row", "letters"), [(0, "A"), (25, "Z"), (26, "AA"), (31, "AF"), (52, "BA")])
def test_rows_have_letters_after_z_too(row, letters):
    assert row_letters(row) == letters
    assert well_place(f"{letters}01") == (row, 0)


def test_a_well_is_in_the_folder_of_its_row_and_column():
    assert [well_path(well) for well in ("B07", "AF48")] == ["B/07", "AF/48"]


@pytest.mark.parametrize(
    ("wells", "size"), [(("H12",), (8, 12)), (("A13",), (16, 24)), (("A01", "AF48"), (32, 48)), (("AH50",), (34, 50))]
)
def test_a_plate_lists_all_of_its_rows_and_columns(make_store, tmp_path, wells, size):
    _, store = make_store(wells=wells, n_sites=1)
    export_ome_zarr(store, Place("Plate1"), tmp_path / "plate", source={})
    plate = HCS.from_zarr(zarr.open_group(str(tmp_path / "plate"), mode="r")).ome_attributes.plate
    assert (len(plate.rows), len(plate.columns)) == size
    assert [plate.rows[well.rowIndex].name + plate.columns[well.columnIndex].name for well in plate.wells] == list(
        wells
    )
