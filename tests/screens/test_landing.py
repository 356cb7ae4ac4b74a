"""What lies in the landing zone, complete or not, changed or not."""

import os

import pytest
from upath import UPath

from cellassets.errors import LayoutError, PartitionKeyError
from cellassets.screens.landing import find_experiments, ignored_folders, signature_of
from cellassets.screens.layout import image_path
from cellassets.screens.well import infer_geometry, normalise_well, well_place


def test_a_landing_zone_that_is_not_there_yet_is_empty(tmp_path):
    assert find_experiments(UPath(tmp_path / "nothing")) == []


def test_experiments_are_listed_with_their_completeness(zone):
    zone.land("E-2", is_complete=False)
    zone.land("E-1")
    found = find_experiments(UPath(zone.root))
    assert [(e.experiment_id, e.is_marked_complete) for e in found] == [("E-1", True), ("E-2", False)]


def test_folders_that_cannot_be_partition_keys_are_passed_over_by_name(zone):
    zone.land("E-1")
    (zone.root / "my plates (copy)").mkdir()
    (zone.root / ".hidden").mkdir()
    assert [e.experiment_id for e in find_experiments(UPath(zone.root))] == ["E-1"]
    assert ignored_folders(UPath(zone.root)) == ["my plates (copy)"]


def test_an_unmarked_folder_changes_its_signature_with_every_file(zone):
    folder = zone.land(is_complete=False)
    before = signature_of(UPath(zone.root), "E-1")
    assert signature_of(UPath(zone.root), "E-1") == before
    zone.write_image(folder, "Plate1/D04_s1_w1.png")
    assert signature_of(UPath(zone.root), "E-1") != before


def test_a_marked_folder_changes_its_signature_with_the_marker(zone):
    folder = zone.land()
    before = signature_of(UPath(zone.root), "E-1")
    os.utime(folder / "_COMPLETE", ns=(1, 1))
    assert signature_of(UPath(zone.root), "E-1") != before


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "Plate1/../../x.png", "file:///etc/passwd"])
def test_a_path_that_leaves_the_landing_folder_is_refused(tmp_path, path):
    with pytest.raises(PartitionKeyError, match="leaves"):
        image_path(UPath(tmp_path), path)


@pytest.mark.parametrize(
    ("name", "well_id", "place"),
    [("b7", "B07", (1, 6)), ("A01", "A01", (0, 0)), ("P024", "P24", (15, 23)), ("AF48", "AF48", (31, 47))],
)
def test_wells_have_one_name(name, well_id, place):
    assert normalise_well(name) == well_id
    assert well_place(well_id) == place


@pytest.mark.parametrize("name", ["", "7B", "A00", "A100", "A-1", "ABC1"])
def test_what_is_no_well_name_is_refused(name):
    with pytest.raises(LayoutError, match="expected row letters"):
        normalise_well(name)


@pytest.mark.parametrize(
    ("wells", "geometry"),
    [
        (["A01", "H12"], (8, 12)),
        (["H13"], (16, 24)),
        (["P24"], (16, 24)),
        (["Q01"], (32, 48)),
        (["A01", "ZZ99"], (8, 12)),
    ],
)
def test_geometry_is_the_smallest_standard_plate(wells, geometry):
    assert infer_geometry(wells) == geometry
