"""Packing keeps every pixel, continues after an interruption, and writes the same files on a disk and in a bucket."""

import tracemalloc
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import zarr
from upath import UPath

from cellassets.errors import ImageError
from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.images.store_spec import StoreSpec
from cellassets.screens.ingest import check_experiment
from cellassets.tables.parquet import read_table, vectors
from cellassets.tables.schemas import SITES


def expected_images(zone, sites):
    folder = zone.root / "E-1"
    names = [
        [f"{plate}/{well}_s{site}_w{channel}.png" for channel in (1, 2, 3)]
        for plate, well, site in sites.select("plate_id", "well_id", "site_index").rows()
    ]
    return np.array([[zone.pixels(folder, name) for name in site] for site in names])


def test_every_pixel_and_every_row_comes_back(zone, pack, store):
    packed = pack()
    assert packed.summary.n_sites == store.n_sites == 12
    assert (store.n_channels, store.height, store.width) == (3, 16, 24)
    assert store.channel_names == ("Hoechst", "ConA", "Phalloidin")
    np.testing.assert_array_equal(store.read(range(12)), expected_images(zone, store.sites))


def test_any_zarr_reader_opens_the_store(zone, pack, folder):
    pack()
    sites = read_table(folder / "sites.parquet", SITES)
    for plate in ("Plate1", "Plate2"):
        array = zarr.open_array(str(folder / f"{plate}.zarr"), mode="r")
        assert array.metadata.dimension_names == ("site", "channel", "y", "x")
        assert (array.chunks, array.shards) == ((1, 3, 16, 24), (4, 3, 16, 24))
        np.testing.assert_array_equal(array[:], expected_images(zone, sites.filter(pl.col("plate_id") == plate)))


def test_statistics_of_a_site_are_those_of_its_pixels(zone, store):
    pixels = expected_images(zone, store.sites).reshape(12, 3, -1).astype(np.float64)
    np.testing.assert_allclose(vectors(store.sites, "channel_mean"), pixels.mean(axis=2), rtol=1e-6)
    np.testing.assert_allclose(vectors(store.sites, "channel_std"), pixels.std(axis=2), rtol=1e-5)


def test_dropped_sites_are_not_in_the_store(zone, policy, folder):
    landing = zone.land()
    (landing / "Plate1/B02_s1_w2.png").write_bytes(b"")
    manifest = check_experiment(UPath(zone.root), "E-1", policy=policy)
    packed = pack_plates(manifest.images, manifest.wells, Packing(UPath(landing), folder, manifest.imaging))
    assert packed.summary.n_sites == 11
    sites = ExperimentStore.open(folder, packed.files, "E-1").sites
    assert sites.filter((pl.col("plate_id") == "Plate1") & (pl.col("well_id") == "B02"))["site_index"].to_list() == [2]


def test_an_image_that_changed_behind_the_marker_is_refused_by_name(zone, pack):
    zone_file = zone.root / "E-1/Plate2/C03_s2_w3.png"
    zone_file.write_bytes(zone_file.read_bytes() + b"x")
    with pytest.raises(ImageError, match=r"C03_s2_w3.png: \d+ bytes, changed since it was checked"):
        pack()


def test_a_packing_that_failed_starts_again_where_it_stopped(zone, pack, folder):
    path = zone.root / "E-1/Plate2/C03_s2_w3.png"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(ImageError, match="restore the file; a folder that was corrected is checked again"):
        pack()
    path.write_bytes(content)
    packed = pack()
    assert packed.summary.n_shards_resumed == 3
    store = ExperimentStore.open(folder, packed.files, "E-1")
    np.testing.assert_array_equal(store.read(range(12)), expected_images(zone, store.sites))


def test_a_cut_off_shard_of_an_earlier_packing_is_packed_again(pack, folder):
    expected = pack().files
    shard = folder / "Plate1.zarr/c/0/0/0/0"
    shard.write_bytes(shard.read_bytes()[:-5])
    again = pack()
    assert again.summary.n_shards_resumed == 3
    assert again.files == expected


def test_the_store_of_a_bucket_is_that_of_a_disk(zone, landed, pack, store):
    here = pack()
    bucket = UPath("memory://bucket-of-test/packed")
    packing = Packing(UPath(zone.root / "E-1"), bucket, landed.imaging, StoreSpec(shard_sites=4))
    there = pack_plates(landed.images, landed.wells, packing)
    assert there.files == here.files
    order = [11, 0, 5, 5, 3]
    remote = ExperimentStore.open(bucket, there.files, "E-1")
    np.testing.assert_array_equal(remote.read(order), store.read(order))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_memory_does_not_grow_with_the_plate(tmp_path, zone, policy, dtype):
    """Peak memory of packing 6 times as many sites is less than twice as high."""
    peaks = []
    big = replace(zone, root=tmp_path / "big", size=(256, 256), dtype=dtype)
    for number, columns in enumerate((2, 12)):
        experiment_id = f"E-{number}"
        wells = [f"{row}{column:02d}" for row in "ABCD" for column in range(1, columns + 1)]
        big.land(experiment_id, plates=(1,), wells=wells)
        manifest = check_experiment(UPath(big.root), experiment_id, policy=policy)
        packing = Packing(
            UPath(big.root / experiment_id), UPath(tmp_path / experiment_id), manifest.imaging, n_threads=2
        )
        tracemalloc.start()
        pack_plates(manifest.images, manifest.wells, packing)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]
