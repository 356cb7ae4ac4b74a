"""`plate_store`: interrupted runs continue, damage and changes are named, nothing incomplete is ever visible."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from cellassets.errors import ArtifactMissing, CorruptArtifact, ImageError, LayoutError, StaleArtifact
from cellassets.images import writer
from cellassets.images.summary import PlateStoreSummary
from cellassets.stages.catalogue import stage_named
from cellassets.stages.snapshot import NotReady
from cellassets.stages.stage import Context
from cellassets.stages.stores import open_store

LAST = "E-1/Plate2/C03_s2_w3.png"


@pytest.fixture
def landed(zone, place, policy):
    """Four sites per shard, so that six sites per plate are two shards."""
    zone.land()
    place.set("policy.yaml", {"ingest": policy.model_dump(mode="json"), "store": {"shard_sites": 4}})
    place.make("raw_plates", "E-1")
    return place


def test_pixels_are_stored_as_they_are_where_the_policy_says_so(zone, landed, policy):
    packed = landed.make("plate_store", "E-1")
    landed.set("policy.yaml", {"ingest": policy.model_dump(mode="json"), "store": {"shard_sites": 4, "blosc_level": 0}})
    again = landed.make("plate_store", "E-1")
    assert again.record.fingerprint != packed.record.fingerprint
    levels = [
        re.findall(r'"clevel": ?(\d)', published.path("Plate1.zarr/zarr.json").read_text())
        for published in (packed, again)
    ]
    assert levels == [["1"], ["0"]]
    store = store_of(landed)
    np.testing.assert_array_equal(store.read(range(12)), pixels_of(zone, store.sites))


def store_of(place):
    return open_store(place.lake, place.lake.records().need("plate_store", "E-1"))


def is_published(place):
    return place.lake.artifact("plate_store", "E-1").find_record() is not None


def pixels_of(zone, sites):
    names = [
        [f"{plate}/{well}_s{site}_w{channel}.png" for channel in (1, 2, 3)]
        for plate, well, site in sites.select("plate_id", "well_id", "site_index").rows()
    ]
    return np.array([[zone.pixels(zone.root / "E-1", name) for name in site] for site in names])


def test_the_published_store_holds_every_pixel_and_its_summary_has_the_fields_of_its_model(zone, landed):
    published = landed.make("plate_store", "E-1")
    store = store_of(landed)
    np.testing.assert_array_equal(store.read(range(12)), pixels_of(zone, store.sites))
    summary = PlateStoreSummary.model_validate(published.record.summary)
    assert summary.model_dump(mode="json") == published.record.summary
    assert (summary.n_sites, summary.n_plates, summary.n_shards_resumed) == (12, 2, 0)
    assert summary.n_bytes == sum(entry.n_bytes for entry in published.record.files if "/c/" in entry.name)


def test_packing_again_does_nothing(landed, monkeypatch):
    first = landed.make("plate_store", "E-1")
    monkeypatch.setattr(writer, "read_image", lambda *_: pytest.fail("an image was read again"))
    assert landed.make("plate_store", "E-1") == first


def test_an_experiment_without_a_manifest_waits_for_it(zone, place):
    zone.land()
    with pytest.raises(NotReady, match="raw_plates of E-1"):
        place.plan("plate_store", "E-1")


def test_a_manifest_that_was_checked_again_with_the_same_content_makes_no_store_stale(zone, landed):
    first = landed.make("plate_store", "E-1")
    (zone.root / "E-1/_COMPLETE").write_text("landed again")
    assert landed.make("raw_plates", "E-1").record.generation == 2
    assert landed.make("plate_store", "E-1") == first


def test_a_replaced_illumination_function_makes_manifest_and_store_stale(zone, place):
    folder = zone.land(plates=(1,))
    corrected = json.loads((zone.root / "experiment.yaml").read_text()) | {"correct_illumination": True}
    (folder / "experiment.yaml").write_text(json.dumps(corrected))
    (folder / "illumination").mkdir()

    def made(brightness):
        for channel in (1, 2, 3):
            np.save(folder / f"illumination/Plate1_{channel}.npy", np.full((16, 24), brightness))
        return [place.make(name, "E-1").record for name in ("raw_plates", "plate_store")]

    first, again, other = made(1.0), made(1.0), made(2.0)
    assert [record.fingerprint for record in again] == [record.fingerprint for record in first]
    assert not {record.fingerprint for record in other} & {record.fingerprint for record in first}
    store = store_of(place)
    np.testing.assert_array_equal(store.read(range(6)), np.rint(pixels_of(zone, store.sites) / 2).astype(np.uint8))


def test_a_folder_that_changed_since_its_manifest_is_refused(zone, landed):
    (zone.root / "E-1/_COMPLETE").write_text("landed again")
    with pytest.raises(StaleArtifact, match="materialise raw_plates again"):
        landed.make("plate_store", "E-1")
    assert not is_published(landed)


def test_an_image_that_changed_behind_the_marker_is_refused_and_nothing_is_published(zone, landed):
    path = zone.root / LAST
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(StaleArtifact, match="changed since raw_plates checked it; materialise raw_plates again"):
        landed.make("plate_store", "E-1")
    assert not is_published(landed)


def test_an_image_that_is_repaired_while_it_is_packed_is_a_cause_that_passes(zone, landed, monkeypatch):
    path, read = zone.root / LAST, writer.read_content

    def repair(source, name, part):
        if name == LAST.removeprefix("E-1/"):
            path.write_bytes(path.read_bytes() + b"x")
        return read(source, name, part)

    monkeypatch.setattr(writer, "read_content", repair)
    with pytest.raises(StaleArtifact, match="changed while it was packed"):
        landed.make("plate_store", "E-1")
    assert not is_published(landed)


@contextmanager
def damaged(path):
    """Another content of the same size, with the same time: a damage that no signature shows."""
    content, status = path.read_bytes(), path.stat()
    for written in (bytes(len(content)), content):
        path.write_bytes(written)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        if written != content:
            yield


def test_a_run_that_failed_starts_again_where_it_stopped(zone, landed):
    with damaged(zone.root / LAST), pytest.raises(ImageError, match=r"changed since it was checked .* checked again"):
        landed.make("plate_store", "E-1")
    assert landed.make("plate_store", "E-1").record.summary["n_shards_resumed"] == 3
    store = store_of(landed)
    np.testing.assert_array_equal(store.read(range(12)), pixels_of(zone, store.sites))


def test_a_cut_off_shard_of_an_earlier_run_is_packed_again(zone, landed):
    with damaged(zone.root / LAST), pytest.raises(ImageError):
        landed.make("plate_store", "E-1")
    shard = next(landed.lake.artifact("plate_store", "E-1").data.glob("*/Plate1.zarr/c/0/0/0/0"))
    shard.write_bytes(shard.read_bytes()[:-5])
    published = landed.make("plate_store", "E-1")
    assert published.record.summary["n_shards_resumed"] == 2
    published.artifact.verify(published.record)


def test_a_damaged_shard_is_packed_again_once_its_record_is_deleted(landed):
    published = landed.make("plate_store", "E-1")
    path = published.path(next(name for name in published.names if "/c/" in name))
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CorruptArtifact, match=r"delete .*000001.json and materialise the asset again"):
        published.artifact.verify(published.record)
    published.artifact.record_path(1).unlink()
    again = landed.make("plate_store", "E-1")
    assert again.record.files == published.record.files
    again.artifact.verify(again.record)


def test_a_shard_that_is_gone_is_named(landed):
    published = landed.make("plate_store", "E-1")
    published.path("Plate1.zarr/c/0/0/0/0").unlink()
    with pytest.raises(
        ArtifactMissing, match=r"listed in the commit record but missing; run `cellassets artifact verify`"
    ):
        store_of(landed).read([0])
    with pytest.raises(CorruptArtifact, match=r"does not exist; delete .*000001.json and materialise the asset again"):
        published.artifact.verify(published.record)


KILLED = """
import os, signal, sys
from pathlib import Path
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment

def kill_at(n_done, n_total, what, note=""):
    if n_done >= 8:
        os.kill(os.getpid(), signal.SIGKILL)

home = Path(sys.argv[1])
deployment = Deployment.of({}, home=home, configs=home / "configs")
carry_out(stage_named("plate_store"), deployment, {"experiment": "E-1"}, progress=kill_at)
"""


def test_a_killed_run_leaves_nothing_visible_and_is_resumed(landed):
    command = [sys.executable, "-c", KILLED, str(landed.home)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not is_published(landed)
    published = landed.make("plate_store", "E-1")
    assert published.record.summary["n_shards_resumed"] >= 2
    published.artifact.verify(published.record)


def test_two_runs_at_once_publish_one_whole_store(landed, made_once_by_two):
    made_once_by_two(landed, "plate_store", "E-1")
    assert store_of(landed).read(range(12)).shape == (12, 3, 16, 24)


def test_a_full_disk_leaves_nothing_visible(landed, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        landed.make("plate_store", "E-1")
    monkeypatch.undo()
    assert not is_published(landed)
    left = [path.name for path in landed.lake.root.rglob("*") if path.name.startswith(".")]
    assert left == []
    assert landed.make("plate_store", "E-1").record.summary["n_sites"] == 12


def test_the_store_is_made_from_the_manifest_of_its_plan(landed, made_from_pins, publish_newer):
    def publish():
        fewer = {"images.parquet": lambda images: images.filter(images["well_id"] != "C03")}
        publish_newer(landed.deployment, "raw_plates", "E-1", change=fewer)

    after = made_from_pins(landed, "plate_store", ["E-1"], publish)
    assert after.summary["n_sites"] == 8


def test_a_landing_folder_that_changes_between_plan_and_packing_is_refused(zone, landed):
    plan = landed.plan("plate_store", "E-1")
    (zone.root / "E-1/_COMPLETE").write_text("landed again")
    with pytest.raises(StaleArtifact, match="changed since raw_plates checked it"):
        stage_named("plate_store").make(Context(landed.deployment), plan)
    shutil.rmtree(zone.root / "E-1")
    with pytest.raises(LayoutError, match="no longer in the landing zone"):
        stage_named("plate_store").make(Context(landed.deployment), plan)
    assert not is_published(landed)
