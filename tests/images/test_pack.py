"""Packing keeps every pixel, continues after a killed run, and never publishes an incomplete store."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import tracemalloc

import numpy as np
import polars as pl
import pytest
import zarr
from upath import UPath

from cellassets.errors import CorruptArtifact, ImageError, StaleArtifact
from cellassets.images import pack as pack_module
from cellassets.images import writer
from cellassets.images.pack import Packing, pack_experiment, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.images.spec import StoreSpec
from cellassets.images.summary import PlateStoreSummary
from cellassets.screens.ingest import check_experiment, ingest_plates
from cellassets.storage.lake import Lake
from cellassets.tables.parquet import read_table, vectors
from cellassets.tables.schemas import SITES


def expected_images(zone, sites):
    folder = zone.root / "E-1"
    names = [
        [f"{plate}/{well}_s{site}_w{channel}.png" for channel in (1, 2, 3)]
        for plate, well, site in sites.select("plate_id", "well_id", "site_index").rows()
    ]
    return np.array([[zone.pixels(folder, name) for name in site] for site in names])


def test_every_pixel_and_every_row_comes_back(lake, landed, pack, open_store):
    record = pack()
    store = open_store(lake, "E-1")
    assert record.summary["n_sites"] == store.n_sites == 12
    assert (store.n_channels, store.height, store.width) == (3, 16, 24)
    assert store.channel_names == ("Hoechst", "ConA", "Phalloidin")
    np.testing.assert_array_equal(store.read(range(12)), expected_images(landed, store.sites))


def test_any_zarr_reader_opens_the_store(lake, landed, pack):
    record = pack()
    folder = lake.plate_store("E-1").folder(record.fingerprint)
    sites = read_table(lake.plate_store("E-1").path("sites.parquet"), SITES)
    for plate in ("Plate1", "Plate2"):
        array = zarr.open_array(str(folder / f"{plate}.zarr"), mode="r")
        assert array.metadata.dimension_names == ("site", "channel", "y", "x")
        assert (array.chunks, array.shards) == ((1, 3, 16, 24), (4, 3, 16, 24))
        expected = expected_images(landed, sites.filter(pl.col("plate_id") == plate))
        np.testing.assert_array_equal(array[:], expected)


def test_statistics_of_a_site_are_those_of_its_pixels(lake, landed, pack, open_store):
    pack()
    store = open_store(lake, "E-1")
    pixels = expected_images(landed, store.sites).reshape(12, 3, -1).astype(np.float64)
    np.testing.assert_allclose(vectors(store.sites, "channel_mean"), pixels.mean(axis=2), rtol=1e-6)
    np.testing.assert_allclose(vectors(store.sites, "channel_std"), pixels.std(axis=2), rtol=1e-5)


def test_dropped_sites_are_not_in_the_store(lake, zone, policy, open_store):
    folder = zone.land()
    (folder / "Plate1/B02_s1_w2.png").write_bytes(b"")
    ingest_plates(lake, UPath(zone.root), "E-1", policy=policy)
    assert pack_experiment(lake, "E-1", landing=UPath(zone.root)).summary["n_sites"] == 11
    sites = open_store(lake, "E-1").sites
    assert sites.filter((pl.col("plate_id") == "Plate1") & (pl.col("well_id") == "B02"))["site_index"].to_list() == [2]


def test_packing_again_does_nothing(pack, monkeypatch):
    first = pack()
    monkeypatch.setattr(writer, "read_image", lambda *_: pytest.fail("an image was read again"))
    assert pack() == first


def test_a_folder_that_changed_since_its_manifest_is_refused(lake, landed, pack):
    (landed.root / "E-1/_COMPLETE").write_text("landed again")
    with pytest.raises(StaleArtifact, match="materialise raw_plates again"):
        pack()
    assert lake.plate_store("E-1").find_record() is None


def test_an_image_that_changed_behind_the_marker_is_refused_by_name(lake, landed, pack):
    path = landed.root / "E-1/Plate2/C03_s2_w3.png"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ImageError, match=r"C03_s2_w3.png: \d+ bytes, changed since it was checked"):
        pack()
    assert lake.plate_store("E-1").find_record() is None


def test_a_run_that_failed_starts_again_where_it_stopped(lake, landed, pack, open_store):
    path = landed.root / "E-1/Plate2/C03_s2_w3.png"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(ImageError, match="land the experiment again"):
        pack()
    path.write_bytes(content)
    record = pack()
    assert record.summary["n_shards_resumed"] == 3
    np.testing.assert_array_equal(
        open_store(lake, "E-1").read(range(12)),
        expected_images(landed, open_store(lake, "E-1").sites),
    )


def test_a_damaged_shard_is_packed_again_once_its_record_is_deleted(lake, pack):
    record = pack()
    shard = next(entry.name for entry in record.files if "/c/" in entry.name)
    path = lake.plate_store("E-1").path(shard)
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CorruptArtifact, match="delete"):
        lake.plate_store("E-1").verify()
    (lake.plate_store("E-1").root / "record.json").unlink()
    assert pack().files == record.files
    lake.plate_store("E-1").verify()


def test_a_cut_off_shard_of_an_earlier_run_is_packed_again(lake, landed, pack):
    path = landed.root / "E-1/Plate2/C03_s2_w3.png"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(ImageError):
        pack()
    shard = next(lake.root.glob("plate_store/E-1/*/Plate1.zarr/c/0/0/0/0"))
    shard.write_bytes(shard.read_bytes()[:-5])
    path.write_bytes(content)
    assert pack().summary["n_shards_resumed"] == 2
    lake.plate_store("E-1").verify()


KILLED = textwrap.dedent(
    """
    import os, signal, sys
    from upath import UPath
    from cellassets.storage.lake import Lake
    from cellassets.images.pack import pack_experiment
    from cellassets.images.spec import StoreSpec

    def kill_at(n_done, n_total, what):
        if n_done >= 8:
            os.kill(os.getpid(), signal.SIGKILL)

    pack_experiment(Lake(UPath(sys.argv[1])), "E-1", landing=UPath(sys.argv[2]), spec=StoreSpec(shard_sites=4),
                    progress=kill_at)
    """
)


def test_a_killed_run_leaves_nothing_visible_and_is_resumed(lake, landed, pack):
    command = [sys.executable, "-c", KILLED, str(lake.root), str(landed.root)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert lake.plate_store("E-1").find_record() is None
    record = pack()
    assert record.summary["n_shards_resumed"] >= 2
    lake.plate_store("E-1").verify()


def test_two_runs_at_once_publish_one_whole_store(lake, pack, open_store):
    errors = []

    def run():
        try:
            pack()
        except Exception as error:  # noqa: BLE001  whatever it is, the test must see it
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    lake.plate_store("E-1").verify()
    assert open_store(lake, "E-1").read(range(12)).shape == (12, 3, 16, 24)


def test_a_full_disk_leaves_nothing_visible(lake, pack, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        pack()
    monkeypatch.undo()
    assert lake.plate_store("E-1").find_record() is None
    left = [path.name for path in UPath(lake.root).rglob("*") if path.name.startswith(".")]
    assert left == []
    assert pack().summary["n_sites"] == 12


def test_the_store_of_a_bucket_is_that_of_a_disk(landed, lake, pack, policy, open_store):
    here = pack()
    bucket = Lake(UPath("memory://bucket-of-test/lake"))
    ingest_plates(bucket, UPath(landed.root), "E-1", policy=policy)
    there = pack_experiment(bucket, "E-1", landing=UPath(landed.root), spec=StoreSpec(shard_sites=4))
    assert there.files == here.files
    order = [11, 0, 5, 5, 3]
    remote, local = open_store(bucket, "E-1"), open_store(lake, "E-1")
    np.testing.assert_array_equal(remote.read(order), local.read(order))


def test_memory_does_not_grow_with_the_plate(tmp_path, zone, policy):
    """Peak memory of packing 6 times as many sites is less than twice as high."""
    peaks = []
    big = type(zone)(tmp_path / "big", size=(256, 256))
    for number, columns in enumerate((2, 12)):
        experiment_id = f"E-{number}"
        wells = [f"{row}{column:02d}" for row in "ABCD" for column in range(1, columns + 1)]
        big.land(experiment_id, plates=(1,), wells=wells)
        lake = Lake(UPath(tmp_path / "lake"))
        ingest_plates(lake, UPath(big.root), experiment_id, policy=policy)
        tracemalloc.start()
        pack_experiment(lake, experiment_id, landing=UPath(big.root), n_threads=2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]


def test_plates_are_packed_without_a_lake(zone, policy, tmp_path):
    zone.land()
    manifest = check_experiment(UPath(zone.root), "E-1", policy=policy)
    packing = Packing(UPath(zone.root / "E-1"), UPath(tmp_path / "packed"), StoreSpec(shard_sites=4))
    packed = pack_plates(manifest.images, manifest.wells, packing)
    store = ExperimentStore.open(packing.target, packed.files, "E-1")
    np.testing.assert_array_equal(store.read(range(12)), expected_images(zone, store.sites))
    assert packed.summary.n_sites == 12


def test_a_published_summary_has_exactly_the_fields_of_its_model(pack):
    record = pack()
    assert PlateStoreSummary.model_validate(record.summary).model_dump(mode="json") == record.summary
    assert set(record.summary) == {
        "n_sites", "n_plates", "n_shards_resumed", "n_bytes", "source_bytes", "channel_names", "height", "width",
        "dtype",
    }  # fmt: skip


def test_the_store_is_made_from_the_manifest_of_its_plan(lake, landed, pack, policy, monkeypatch):
    """A manifest that is published between plan and packing is refused, not packed under the old fingerprint."""
    original = pack_module.plan_store

    def plan_then_publish(*arguments, **options):
        plan = original(*arguments, **options)
        ingest_plates(lake, UPath(landed.root), "E-1", policy=policy.model_copy(update={"max_dropped_frac": 0.4}))
        return plan

    monkeypatch.setattr(pack_module, "plan_store", plan_then_publish)
    with pytest.raises(StaleArtifact):
        pack()
    assert lake.plate_store("E-1").find_record() is None
