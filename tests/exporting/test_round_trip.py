"""An exported plate is landed again as an OME-Zarr plate, and gives the same store."""

import numpy as np
import pytest
from upath import UPath

from cellassets.exporting.ome_zarr import export_ome_zarr
from cellassets.exporting.selection import Place
from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy


def test_a_plate_comes_back_bit_for_bit(make_store, tmp_path):
    screen, store = make_store(dtype="uint16", size=(33, 47), n_channels=7)
    assert list(store.channel_names) != sorted(store.channel_names)
    folder = tmp_path / "landing/again"
    folder.mkdir(parents=True)
    export_ome_zarr(store, Place.of("Plate1"), folder / "Plate1.ome.zarr", source={"asset": "plate_store"})
    lines = [f"{well},p{number},compound,,U2OS" for number, well in enumerate(screen.wells)]
    header = "well,perturbation_id,perturbation_kind,control_kind,cell_type"
    (folder / "plate_map.csv").write_text("\n".join([header, *lines]) + "\n")
    manifest = check_experiment(UPath(folder.parent), "again", policy=IngestPolicy(on_bad_site="refuse"))
    packing = Packing(UPath(folder), UPath(tmp_path / "store"), manifest.imaging)
    packed = pack_plates(manifest.images, manifest.wells, packing)
    again = ExperimentStore.open(UPath(tmp_path / "store"), packed.files, "again")
    places = ["plate_id", "well_id", "site_index"]
    first = store.sites.with_row_index("row").filter(plate_id="Plate1")
    assert again.sites.select(places).rows() == first.select(places).rows()
    assert (again.channel_names, again.dtype) == (store.channel_names, store.dtype)
    assert again.imaging.pixel_size_um == pytest.approx(store.imaging.pixel_size_um)
    np.testing.assert_array_equal(again.read(range(again.n_sites)), store.read(first["row"].to_list()))
