"""Which folders of the landing zone are complete, which are still being written, and which are ignored."""

import shutil
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from upath import UPath

from cellassets.reconcile.landing import Landing
from cellassets.screens import landing_readings
from cellassets.screens.landing import scan_landing, signature_of
from cellassets.screens.landing_readings import Readings
from sensors.memory import Memory

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


class Published(dict):
    """Signatures by experiment; `publish` takes what a scan would publish."""

    def publish(self, found):
        self.update({name: landed.signature for name, landed in found.complete.items()})


@pytest.fixture
def published():
    return Published()


@pytest.fixture
def watch(zone, published):
    """Scans after some minutes with the memory of the scan before."""
    first_seen = {}

    def look(minutes, readings=None) -> Landing:
        now = NOON + timedelta(minutes=minutes)
        if readings is not None:
            readings.begin(now, timedelta(minutes=60))
        found = Landing.scan(
            UPath(zone.root), first_seen=first_seen, now=now, quiet=QUIET, published=published.get, readings=readings
        )
        first_seen.clear()
        first_seen.update(Memory.read(Memory(first_seen=found.first_seen).text()).first_seen)  # through the cursor
        return found

    return look


@pytest.mark.parametrize("is_published", [True, False])
def test_a_change_behind_the_marker_counts_after_the_quiet_time(zone, watch, published, is_published):
    folder = zone.land()
    first = watch(0)
    if is_published:
        published.publish(first)
        assert watch(1).first_seen == {}
    zone.write_image(folder, "Plate1/D04_s1_w1.png")
    assert list(watch(2).complete) == []
    zone.write_image(folder, "Plate1/D04_s2_w1.png")
    assert list(watch(11).complete) == []
    held = watch(20)
    assert held.waiting == {
        "E-1": "files changed after _COMPLETE was written; checked again after 10 min without a change, 540 s so far, "
        "or at once when _COMPLETE is written again"
    }
    again = watch(21)
    assert list(again.complete) == ["E-1"]
    assert again.complete["E-1"] != first.complete["E-1"]
    assert watch(22).complete == again.complete
    published.publish(again)
    assert (list(watch(23).complete), watch(24).first_seen) == (["E-1"], {})


@pytest.mark.parametrize("is_published", [True, False])
def test_a_change_behind_the_marker_counts_at_once_when_the_marker_is_written_again(
    zone, watch, published, is_published
):
    folder = zone.land()
    first = watch(0)
    if is_published:
        published.publish(first)
    zone.write_image(folder, "Plate1/D04_s1_w1.png")
    assert list(watch(1).complete) == []
    (folder / "_COMPLETE").write_text("again")
    assert list(watch(2).complete) == ["E-1"]
    zone.write_image(folder, "Plate1/D04_s2_w1.png")
    assert list(watch(3).complete) == [], "the marker vouches for the state that it was found with"


def test_a_change_that_is_taken_back_is_none(zone, watch, published):
    folder = zone.land()
    published.publish(watch(0))
    (folder / "Plate1/D04_s1_w1.png").write_bytes(b"by mistake")
    assert list(watch(1).waiting) == ["E-1"]
    (folder / "Plate1/D04_s1_w1.png").unlink()
    again = watch(2)
    assert (list(again.complete), again.first_seen) == (["E-1"], {})


def test_a_file_overwritten_in_place_during_the_quiet_time_starts_it_again(zone, watch, published, monkeypatch):
    """The folder's own times do not show it: before a change counts, everything is read once more."""
    monkeypatch.setattr(landing_readings, "SETTLED_NS", 0)
    folder, readings = zone.land(), Readings()
    time.sleep(0.05)
    published.publish(watch(0, readings))
    time.sleep(0.05)
    zone.write_image(folder, "Plate1/D04_s1_w1.png")
    assert list(watch(1, readings).waiting) == ["E-1"]
    (folder / "Plate1/B02_s1_w1.png").write_bytes(b"overwritten in place")
    for minutes in (5, 11, 12, 21):
        assert list(watch(minutes, readings).waiting) == ["E-1"]
    assert list(watch(22, readings).complete) == ["E-1"]


def test_what_a_run_published_from_a_newer_state_is_found_and_asks_for_nothing(zone, watch, published, monkeypatch):
    """A file was overwritten in place after the sensor read it and before the run did."""
    monkeypatch.setattr(landing_readings, "SETTLED_NS", 0)
    folder, readings = zone.land(), Readings()
    time.sleep(0.05)
    assert list(watch(0, readings).complete) == ["E-1"]
    (folder / "Plate1/B02_s1_w1.png").write_bytes(b"overwritten in place")
    published["E-1"] = signature_of(UPath(zone.root), "E-1")
    assert list(watch(1, readings).complete) == []
    watch(11, readings)
    done = watch(12, readings)
    assert (done.complete["E-1"].signature, done.first_seen) == (published["E-1"], {})


def test_of_two_names_that_differ_in_letter_case_alone_one_is_ignored_and_both_are_named(zone, watch, published):
    zone.land("huvec-1")
    published.publish(watch(0))
    zone.land("HUVEC-1")
    found = watch(1)
    assert list(found.complete) == ["huvec-1"], "it was published before the other one landed"
    assert "its name and that of huvec-1 differ in letter case alone" in found.ignored["HUVEC-1"]
    published.clear()
    found = watch(2)
    assert (list(found.complete), list(found.ignored)) == (["HUVEC-1"], ["huvec-1"])


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
