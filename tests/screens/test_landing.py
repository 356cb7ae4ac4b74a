"""The content of the landing zone: experiments, complete or not, changed or not, and what is ignored."""

import os
from pathlib import Path

import pytest
from upath import UPath

from cellassets.errors import LayoutError, PartitionKeyError
from cellassets.screens import landing_readings
from cellassets.screens.landing import doubled_names, look_at, scan_landing, signature_of
from cellassets.screens.layouts.folders import resolve_landed
from cellassets.screens.well import infer_geometry, normalise_well, well_place


def test_a_landing_zone_that_is_not_there_yet_is_empty(tmp_path):
    assert scan_landing(UPath(tmp_path / "nothing")).experiments == []


def test_experiments_are_listed_with_their_completeness(zone):
    zone.land("E-2", is_complete=False)
    zone.land("E-1")
    found = scan_landing(UPath(zone.root)).experiments
    assert [(e.experiment_id, e.is_marked_complete) for e in found] == [("E-1", True), ("E-2", False)]


def generic(root):
    """The signature of E-1 if it is read by fsspec calls, as on an object store."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("landing_files", "landing_readings"):
            patch.setattr(f"cellassets.screens.{module}.is_local", lambda _: False)
        return signature_of(root, "E-1")


def reasons(zone):
    return {entry.name: entry.reason for entry in scan_landing(UPath(zone.root)).ignored}


def test_a_folder_whose_name_cannot_be_a_partition_key_is_ignored_with_a_reason(zone):
    zone.land("E-1")
    for name in ("my plates (copy)", "a..b", "-E", ".hidden"):
        (zone.root / name).mkdir()
    assert [e.experiment_id for e in scan_landing(UPath(zone.root)).experiments] == ["E-1"]
    assert list(reasons(zone)) == ["-E", "a..b", "my plates (copy)"]
    assert "rename the folder" in reasons(zone)["my plates (copy)"]


def test_files_in_the_landing_zone_are_ignored_with_a_reason_except_shared_metadata(zone):
    zone.land("E-1")
    (zone.root / "E-2.zip").write_bytes(b"x")
    (zone.root / "metadata.csv").write_text("a")
    assert reasons(zone) == {"E-2.zip": "it is a file; expected one folder per experiment"}


def test_a_folder_without_metadata_and_marker_is_ignored_until_one_of_them_is_there(zone):
    (zone.root / "E-1/Plate1").mkdir(parents=True)
    assert "no metadata.csv, no plate_map.csv, no experiment.yaml and no _COMPLETE" in reasons(zone)["E-1"]
    for path in (
        zone.root / "E-1/metadata.csv",
        zone.root / "E-1/_COMPLETE",
        zone.root / "E-1/experiment.yaml",
        zone.root / "metadata.csv",
    ):
        path.touch()
        assert [e.experiment_id for e in scan_landing(UPath(zone.root)).experiments] == ["E-1"]
        path.unlink()


def test_links_that_are_broken_or_lead_to_a_folder_above_are_ignored_with_a_reason(zone):
    folder = zone.land("E-1", is_complete=False)
    before = signature_of(UPath(zone.root), "E-1")
    (zone.root / "broken").symlink_to(zone.root / "nothing")
    (zone.root / "itself").symlink_to(zone.root / "itself")
    (zone.root / "loop").symlink_to(zone.root)
    (folder / "Plate1/up").symlink_to(folder)
    (folder / "Plate1/gone").symlink_to(folder / "nothing")
    assert {name: reason.split(";")[0] for name, reason in reasons(zone).items()} == {
        "broken": "it is a symbolic link to something that does not exist",
        "itself": "it is a symbolic link to something that does not exist",
        "loop": "it is a symbolic link to a folder that contains it",
    }
    assert signature_of(UPath(zone.root), "E-1") == before


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "._B02_s1_w1.png", "desktop.ini", "@eaDir/B02_s1_w1.png"])
def test_files_of_the_system_change_no_signature(zone, name):
    folder = zone.land("E-1", is_complete=False)
    root = UPath(zone.root)
    before = signature_of(root, "E-1")
    for place in (folder, folder / "Plate1"):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(b"x")
    assert signature_of(root, "E-1") == before
    assert generic(root) == before


@pytest.mark.timeout(20)
def test_what_is_no_file_changes_no_signature_and_stops_no_scan(zone, tmp_path):
    folder = zone.land("E-1", is_complete=False)
    before = signature_of(UPath(zone.root), "E-1")
    os.mkfifo(folder / "Plate1/B02_s9_w1.png")
    (tmp_path / "secret").write_text("of another user")
    (folder / "Plate1/B02_s8_w1.png").symlink_to(tmp_path / "secret")
    (folder / "Plate3").symlink_to(tmp_path)
    assert signature_of(UPath(zone.root), "E-1") == before


def test_a_name_that_is_not_utf8_is_named_in_an_escaped_form(zone):
    folder = zone.land("E-1", is_complete=False)
    os.mkdir(os.fsencode(zone.root) + b"/caf\xe9")  # noqa: PTH102
    Path(os.fsdecode(os.fsencode(folder) + b"/Plate1/caf\xe9.png")).touch()
    assert reasons(zone) == {"caf\\udce9": "its name is not UTF-8; rename it"}
    assert signature_of(UPath(zone.root), "E-1")


def test_an_experiment_may_be_a_link_to_a_folder_elsewhere(zone, tmp_path):
    elsewhere = type(zone)(tmp_path / "instrument").land("E-1")
    zone.root.mkdir()
    (zone.root / "E-1").symlink_to(elsewhere)
    assert [(e.experiment_id, e.is_marked_complete) for e in scan_landing(UPath(zone.root)).experiments] == [
        ("E-1", True)
    ]


@pytest.mark.parametrize("error", [FileNotFoundError(2, "it vanished"), PermissionError(13, "permission denied")])
def test_a_folder_that_cannot_be_read_is_ignored_and_the_others_are_found(zone, monkeypatch, error):
    zone.land("E-1", is_complete=False)
    zone.land("E-2")

    read = landing_readings.read_folder

    def refuse(folder, within):
        if "E-1" in folder:
            raise error
        return read(folder, within)

    monkeypatch.setattr(landing_readings, "read_folder", refuse)
    assert [e.experiment_id for e in scan_landing(UPath(zone.root)).experiments] == ["E-2"]
    assert error.strerror in reasons(zone)["E-1"]


@pytest.mark.parametrize("is_complete", [True, False])
def test_local_folders_have_the_signature_that_fsspec_gives(zone, is_complete):
    zone.land("E-1", is_complete=is_complete)
    root = UPath(zone.root)
    assert generic(root) == signature_of(root, "E-1")


def test_a_bucket_is_scanned_like_a_disk_and_never_from_a_cache():
    bucket = UPath("memory://landing-zone-of-test")
    (bucket / "E-1/metadata.csv").write_bytes(b"a")
    (bucket / "bad name/metadata.csv").write_bytes(b"a")
    (bucket / "notes.txt").write_bytes(b"a")
    assert [e.experiment_id for e in scan_landing(bucket).experiments] == ["E-1"]
    assert [entry.name for entry in scan_landing(bucket).ignored] == ["bad name", "notes.txt"]
    (bucket / "E-2/_COMPLETE").write_bytes(b"")
    assert [e.experiment_id for e in scan_landing(bucket).experiments] == ["E-1", "E-2"]


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_folder_changes_its_signature_with_every_file(zone, is_complete):
    folder = zone.land(is_complete=is_complete)
    (folder / "maps").mkdir()
    seen = [signature_of(UPath(zone.root), "E-1")]
    image = folder / "Plate1/D04_s1_w1.png"
    for change in (
        lambda: zone.write_image(folder, "Plate1/D04_s1_w1.png"),
        lambda: image.write_bytes(b"overwritten in place"),
        lambda: image.rename(folder / "Plate1/D05_s1_w1.png"),
        (folder / "Plate1/B02_s1_w1.png").unlink,
        lambda: (folder / "maps/plate_map.csv").write_text("a table that experiment.yaml names"),
    ):
        change()
        seen.append(signature_of(UPath(zone.root), "E-1"))
        assert signature_of(UPath(zone.root), "E-1") == seen[-1]
    assert len(set(seen)) == len(seen)


def test_a_look_at_one_experiment_finds_what_a_scan_finds(zone):
    zone.land("E-1")
    zone.land("E-2", is_complete=False)
    (zone.root / "loop").symlink_to(zone.root)
    (zone.root / "bare").mkdir()
    root = UPath(zone.root)
    assert [look_at(root, name) for name in ("E-1", "E-2")] == scan_landing(root).experiments
    assert [look_at(root, name) for name in ("E-3", "bare", "loop", "../landing", "E-1/Plate1")] == [None] * 5


def test_of_names_that_differ_in_letter_case_alone_the_published_ones_or_the_first_stay():
    names = ["huvec-1", "HUVEC-1", "U2OS-1", "Huvec-1"]
    assert doubled_names(names, lambda _: False) == {"Huvec-1": "HUVEC-1", "huvec-1": "HUVEC-1"}
    assert doubled_names(names, lambda name: name == "huvec-1") == {"HUVEC-1": "huvec-1", "Huvec-1": "huvec-1"}
    assert doubled_names(names, lambda _: True) == {}


def test_a_marked_folder_changes_its_signature_with_the_marker(zone):
    folder = zone.land()
    before = signature_of(UPath(zone.root), "E-1")
    os.utime(folder / "_COMPLETE", ns=(1, 1))
    assert signature_of(UPath(zone.root), "E-1") != before


@pytest.mark.parametrize(
    "path", ["../../secret.png", "../a/../../b", "/etc/passwd", "Plate1/../../x.png", "file:///etc/passwd"]
)
def test_a_path_that_leaves_the_landing_folder_is_refused(tmp_path, path):
    with pytest.raises(PartitionKeyError, match="leaves"):
        resolve_landed(UPath(tmp_path), path)


@pytest.mark.parametrize(
    ("name", "well_id", "place"),
    [("b7", "B07", (1, 6)), ("A01", "A01", (0, 0)), ("P024", "P24", (15, 23)), ("AF48", "AF48", (31, 47))],
)
def test_wells_have_one_name(name, well_id, place):
    assert normalise_well(name) == well_id
    assert well_place(well_id) == place


@pytest.mark.parametrize("name", ["", "7B", "A00", "A100", "A-1", "ABC1"])
def test_a_name_that_is_not_a_well_is_refused(name):
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
