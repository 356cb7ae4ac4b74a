"""A disk that is full or read-only: the error names the place and what to do, and nothing half-written is visible."""

import os
import sqlite3
import subprocess
from contextlib import closing, suppress

import pytest

from cellassets.errors import StorageUnwritable, is_refusal
from cellassets.stages.catalogue import open_snapshot


@pytest.fixture
def disk(place):
    """The folder of the lake as a disk of its own, which can be filled up and made read-only."""
    root = place.home / "lake"
    root.mkdir(parents=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(root)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"this user cannot mount a disk of its own: {made.stderr.strip()}")
    yield root
    subprocess.run(["umount", "--lazy", str(root)], check=True)


def fill_up(disk):
    """Returns a file that takes all space of the disk."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as stream, suppress(OSError):
        while stream.write(bytes(4096)):
            pass
    assert os.statvfs(disk).f_bavail == 0
    return ballast


def visible(place, kind):
    return place.lake.artifact(kind, "E-1").find_record()


def written(disk):
    return sorted(path.as_posix() for path in disk.rglob("*") if path.is_file() and "catalogue" not in path.name)


@pytest.mark.parametrize("kind", ["raw_plates", "plate_store"])
def test_a_full_disk_is_named_and_the_work_is_done_when_there_is_space(zone, place, disk, kind):
    zone.land()
    if kind == "plate_store":
        place.make("raw_plates", "E-1")
    open_snapshot(place.deployment)
    before = written(disk)
    with closing(sqlite3.connect(disk / "catalogue.db")) as daemon:  # keeps SQLite's own files there, as a daemon does
        daemon.execute("SELECT * FROM publications").fetchall()
        ballast = fill_up(disk)
        with pytest.raises(StorageUnwritable) as caught:
            place.make(kind, "E-1")
    assert str(disk / "data" / kind) in str(caught.value)
    assert "No space left on device; free space there" in str(caught.value)
    assert not is_refusal(caught.value), "it is asked for again"
    assert visible(place, kind) is None
    ballast.unlink()
    assert written(disk) == before, "nothing half-written is left"
    published = place.make(kind, "E-1")
    published.artifact.verify(published.record)
    assert published.record.summary["n_sites"] == 12


@pytest.mark.parametrize("kind", ["raw_plates", "plate_store"])
def test_a_lake_that_cannot_be_written_is_named(zone, place, disk, kind):
    zone.land()
    if kind == "plate_store":
        place.make("raw_plates", "E-1")
    open_snapshot(place.deployment)
    before = written(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(StorageUnwritable) as caught:
        place.make(kind, "E-1")
    assert str(disk) in str(caught.value)
    assert "for writing" in str(caught.value)
    assert not is_refusal(caught.value)
    assert written(disk) == before
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert place.make(kind, "E-1").record.summary["n_sites"] == 12


def test_a_catalogue_on_a_full_disk_is_named(place, disk):
    ballast = fill_up(disk)
    with pytest.raises(StorageUnwritable, match=r"catalogue.db: .*; free space there"):
        open_snapshot(place.deployment)
    ballast.unlink()
    assert open_snapshot(place.deployment) is not None
