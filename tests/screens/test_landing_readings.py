"""What a process keeps of a landing zone: an idle scan reads no folder again, and every change is found."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from upath import UPath

from cellassets.screens import landing_readings
from cellassets.screens.landing import scan_landing, signature_of
from cellassets.screens.landing_readings import Readings

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RECHECK = timedelta(minutes=10)
IMAGE = "Plate1/B02_s1_w1.png"


@pytest.fixture
def settled(monkeypatch):
    """Folders count as settled at once; afterwards, let time pass before a change."""
    monkeypatch.setattr(landing_readings, "SETTLED_NS", 0)


@pytest.fixture
def read(monkeypatch):
    """The folders and experiments that were read."""
    paths = []
    read_folder, list_objects = landing_readings.read_folder, landing_readings.list_objects

    def noted_folder(folder, within):
        paths.append(folder.rpartition("/")[2])
        return read_folder(folder, within)

    def noted_listing(landing, name):
        paths.append(name)
        return list_objects(landing, name)

    monkeypatch.setattr(landing_readings, "read_folder", noted_folder)
    monkeypatch.setattr(landing_readings, "list_objects", noted_listing)
    return paths


@pytest.fixture
def readings():
    return Readings()


@pytest.fixture
def scan(zone, readings):
    """Scans after some minutes; the signature of each experiment."""

    def scan(minutes, root=None):
        readings.begin(NOON + timedelta(minutes=minutes), RECHECK)
        found = scan_landing(root or UPath(zone.root), readings).experiments
        return {landed.experiment_id: landed.signature for landed in found}

    return scan


def fresh(zone):
    return {"E-1": signature_of(UPath(zone.root), "E-1")}


def overwrite(folder):
    (folder / IMAGE).write_bytes(b"overwritten in place")


def later():
    time.sleep(0.05)  # the clock of a file system may tick every 10 ms


@pytest.mark.usefixtures("settled")
def test_an_idle_scan_reads_no_folder_again(zone, scan, read):
    zone.land()
    zone.land("E-2", is_complete=False)
    later()
    first = scan(0)
    assert sorted(read) == ["E-1", "E-2", "Plate1", "Plate1", "Plate2", "Plate2"]
    read.clear()
    assert scan(9) == first
    assert sorted(read) == ["E-2", "Plate1", "Plate2"], "of folders without a marker all is read"


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / IMAGE).unlink(),
        lambda folder: (folder / IMAGE).rename(folder / "Plate1/B02_s7_w1.png"),
        lambda folder: (folder / "Plate1/B02_s3_w1.png").write_bytes(b"added"),
        lambda folder: (folder / "plate_map.csv").write_text("added"),
    ],
)
@pytest.mark.usefixtures("settled")
def test_what_was_added_removed_or_renamed_behind_the_marker_is_found_at_once(zone, scan, read, change):
    folder = zone.land()
    later()
    before = scan(0)
    read.clear()
    later()
    change(folder)
    assert scan(1) == fresh(zone) != before


@pytest.mark.usefixtures("settled")
def test_a_file_overwritten_in_place_is_found_after_the_recheck_time(zone, scan):
    folder = zone.land()
    later()
    before = scan(0)
    later()
    overwrite(folder)
    assert scan(9) == before
    assert scan(10) == fresh(zone) != before
    overwrite(folder)
    assert scan(-5) == fresh(zone), "the clock was set back"


@pytest.mark.parametrize("name", ["_COMPLETE", "metadata.csv", "experiment.yaml"])
@pytest.mark.usefixtures("settled")
def test_with_the_marker_or_the_metadata_everything_is_read_again_at_once(zone, scan, name):
    folder = zone.land()
    later()
    scan(0)
    later()
    overwrite(folder)
    (folder / name).write_text("written again")
    assert scan(1) == fresh(zone)


def test_a_folder_that_changed_a_moment_ago_is_read_again(zone, scan, read):
    """A second change within one tick of the file system's clock leaves the folder's time as it was."""
    zone.land()
    scan(0)
    read.clear()
    scan(1)
    assert sorted(read) == ["E-1", "Plate1", "Plate2"]


@pytest.mark.usefixtures("settled")
def test_of_very_many_files_some_are_read_again_at_each_scan(zone, scan, read, monkeypatch):
    for name in ("E-1", "E-2", "E-3"):
        zone.land(name, plates=(1,))
    later()
    scan(0)
    monkeypatch.setattr(landing_readings, "MAX_FILES_READ_AGAIN", 20)  # each experiment has 18 images and two files
    read.clear()
    scan(10)
    assert read == ["E-1", "Plate1"]
    scan(10.5)
    scan(11)
    scan(11.5)
    assert read == ["E-1", "Plate1", "E-2", "Plate1", "E-3", "Plate1"]
    scan(20)
    assert read[-2:] == ["E-1", "Plate1"], "what was read longest ago"


def test_a_marked_experiment_in_a_bucket_is_listed_once_per_recheck_time_or_with_its_marker(scan, read):
    bucket = UPath("memory://landing-readings")
    for name in ("metadata.csv", "Plate1/a.png", "_COMPLETE"):
        (bucket / "E-1" / name).write_bytes(b"a")
    first = scan(0, bucket)
    assert (scan(9, bucket), read) == (first, ["E-1"])
    (bucket / "E-1/Plate1/b.png").write_bytes(b"b")
    assert (scan(9, bucket), read) == (first, ["E-1"])
    second = scan(10, bucket)
    assert (second != first, read) == (True, ["E-1", "E-1"])
    (bucket / "E-1/Plate1/b.png").unlink()
    (bucket / "E-1/_COMPLETE").write_bytes(b"")
    assert scan(11, bucket) not in (first, second)
    assert len(read) == 3
    assert scan(12, bucket) == {"E-1": signature_of(bucket, "E-1")}


def test_experiments_that_are_gone_are_forgotten(zone, scan, readings):
    zone.land()
    scan(0)
    (zone.root / "E-1").rename(zone.root / ".away")
    assert scan(1) == {}
    assert (readings._folders, readings._vouched) == ({}, {})
