"""Which folders of the landing zone are complete, which are still being written, and which are ignored."""

import shutil
import threading
from datetime import UTC, datetime, timedelta

import pytest
from upath import UPath

from cellassets.reconcile.landing import Landing
from cellassets.screens.landing import scan_landing

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
QUIET = timedelta(minutes=10)


@pytest.fixture
def scan(zone):
    def look(first_seen, now) -> Landing:
        return Landing.scan(UPath(zone.root), first_seen=first_seen, now=now, quiet=QUIET)

    return look


def test_a_folder_that_is_still_written_is_left_alone_until_it_is_quiet(zone, scan):
    folder = zone.land(is_complete=False)
    first = scan({}, NOON)
    assert (list(first.complete), list(first.waiting)) == ([], ["E-1"])
    zone.write_image(folder, "Plate2/D04_s1_w1.png")  # nine minutes on, the robot writes one more
    second = scan(first.first_seen, NOON + timedelta(minutes=9))
    assert list(second.complete) == []
    third = scan(second.first_seen, NOON + timedelta(minutes=18))
    assert third.waiting == {"E-1": "no _COMPLETE in it; starts after 10 min without a change, 540 s so far"}
    fourth = scan(third.first_seen, NOON + timedelta(minutes=20))
    assert (list(fourth.complete), list(fourth.waiting)) == (["E-1"], [])


def test_a_marked_folder_is_complete_at_once(zone, scan):
    zone.land()
    assert list(scan({}, NOON).complete) == ["E-1"]


def test_a_folder_that_cannot_be_an_experiment_is_ignored_with_a_reason(zone, scan):
    zone.land("E-1")
    zone.land("bad name|x")
    found = scan({}, NOON)
    assert list(found.complete) == ["E-1"]
    assert "rename the folder" in found.ignored["bad name|x"]


def test_folders_that_are_gone_are_not_remembered(zone, scan):
    zone.land(is_complete=False)
    first = scan({"E-9": ("signature", NOON.isoformat())}, NOON)
    assert list(first.first_seen) == ["E-1"]


def test_after_the_clock_was_set_back_the_quiet_time_starts_again(zone, scan):
    zone.land(is_complete=False)
    first = scan({}, NOON)
    back = scan(first.first_seen, NOON - timedelta(hours=2))
    assert list(back.waiting) == ["E-1"]
    later = scan(back.first_seen, NOON - timedelta(hours=2) + QUIET)
    assert list(later.complete) == ["E-1"]


def test_a_folder_that_is_published_in_its_present_state_is_complete_without_a_memory(zone):
    zone.land(is_complete=False)
    (landed,) = scan_landing(UPath(zone.root)).experiments
    settled = {"E-1": landed.signature}.get
    found = Landing.scan(UPath(zone.root), first_seen={}, now=NOON, quiet=QUIET, published=settled)
    assert (list(found.complete), found.first_seen) == (["E-1"], {})


def test_files_and_folders_may_be_renamed_during_a_scan(zone):
    """As rsync and other copying tools do; the experiment waits, and the others are seen."""
    folder = zone.land(is_complete=False)
    zone.land("E-2")
    is_over = threading.Event()

    def copy() -> None:
        while not is_over.is_set():
            (folder / ".tmp" / "deep").mkdir(parents=True)
            (folder / ".tmp" / "deep" / ".image.png.Xy12").touch()
            (folder / ".tmp" / "deep" / ".image.png.Xy12").rename(folder / ".tmp" / "deep" / "image.png")
            (folder / ".tmp").rename(folder / "Plate3")
            shutil.rmtree(folder / "Plate3")

    copying = threading.Thread(target=copy)
    copying.start()
    try:
        for _ in range(300):
            found = Landing.scan(UPath(zone.root), first_seen={}, now=NOON, quiet=QUIET)
            assert (list(found.complete), list(found.waiting), dict(found.ignored)) == (["E-2"], ["E-1"], {})
    finally:
        is_over.set()
        copying.join()
