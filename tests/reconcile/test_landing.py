"""Which folders of the landing zone are complete, which are still being written, and which are ignored."""

from datetime import UTC, datetime, timedelta

import pytest
from upath import UPath

from cellassets.reconcile.landing import Landing

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
    assert third.waiting == {"E-1": "no _COMPLETE in it and changed 540 s ago"}
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
