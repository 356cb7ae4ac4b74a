"""A plate that would lose too many of its sites is dropped as a whole, and the others are kept."""

import polars as pl
import pytest
from upath import UPath

from cellassets.errors import PlateRefused
from cellassets.screens.ingest import check_experiment, summarise
from cellassets.screens.policy import IngestPolicy
from cellassets.screens.whole_plates import BadPlate, bad_plates

STRICT = IngestPolicy(max_dropped_frac=0.2, max_dropped_frac_of_plate=0.5)


def check(zone, **changes):
    return check_experiment(UPath(zone.root), "E-1", policy=STRICT.model_copy(update=changes))


def damage(folder, plate, n_sites):
    """Empties one image in each of some sites; a plate of `zone` has three wells of two sites."""
    images = sorted((folder / plate).glob("*_w1.png"))[:n_sites]
    assert len(images) == n_sites
    for image in images:
        image.write_bytes(b"")


def refused(manifest):
    return manifest.findings.filter(finding_kind="plate_refused")


def test_a_bad_plate_is_dropped_with_its_wells_and_one_finding_and_the_other_is_kept(zone):
    damage(zone.land(), "Plate1", 4)
    manifest = check(zone)
    assert refused(manifest).select("plate_id", "well_id", "consequence").rows() == [("Plate1", None, "plate_dropped")]
    (message,) = refused(manifest)["message"]
    assert "Plate1: 4 of its 6 sites would be dropped (67%)" in message
    assert "max_dropped_frac_of_plate allows 50%" in message
    assert set(manifest.wells["plate_id"]) == set(manifest.images["plate_id"]) == {"Plate2"}
    assert set(manifest.sites["plate_id"]) == {"Plate2"}
    assert (manifest.n_sites, manifest.n_dropped, manifest.n_files) == (6, 0, 18)
    assert manifest.images["is_usable"].all()
    assert manifest.findings.filter(finding_kind="truncated_image").height == 4, "its sites are named, too"
    assert summarise(manifest, landing_signature="s", landing="there").n_plates == 1


def test_the_limit_is_a_share_that_may_be_reached(zone):
    damage(zone.land(), "Plate1", 3)
    manifest = check(zone, max_dropped_frac=0.3)
    assert refused(manifest).is_empty()
    assert (manifest.n_sites, manifest.n_dropped) == (12, 3)


def test_without_a_limit_no_plate_is_dropped_and_the_experiment_has_its_own_limit(zone):
    damage(zone.land(), "Plate1", 4)
    assert check(zone, max_dropped_frac=0.4, max_dropped_frac_of_plate=None).n_dropped == 4
    with pytest.raises(PlateRefused, match=r"33% of its sites would be dropped, policy allows 20%"):
        check(zone, max_dropped_frac_of_plate=None)


def test_the_limit_of_the_experiment_holds_for_the_plates_that_are_left(zone):
    folder = zone.land()
    damage(folder, "Plate1", 6)
    damage(folder, "Plate2", 2)
    assert check(zone, max_dropped_frac=0.4).n_dropped == 2
    with pytest.raises(
        PlateRefused, match=r"33% of its sites would be dropped, policy allows 20%. First: Plate1: 6 of"
    ):
        check(zone)


def test_policy_can_refuse_the_experiment_for_a_bad_plate(zone):
    damage(zone.land(), "Plate1", 4)
    with pytest.raises(
        PlateRefused, match=r"on_bad_plate is refuse and 1 plates are bad. First: Plate1: 4 of"
    ) as caught:
        check(zone, on_bad_plate="refuse")
    assert "plate_refused" in caught.value.findings["finding_kind"].to_list()


def test_an_experiment_of_bad_plates_is_refused(zone):
    folder = zone.land()
    damage(folder, "Plate1", 4)
    damage(folder, "Plate2", 5)
    with pytest.raises(PlateRefused, match=r"no site is left. First: Plate1: 4 of .*; Plate2: 5 of"):
        check(zone)


def test_wells_that_are_dropped_count_for_their_plate(zone):
    folder = zone.land()
    rows = zone.read_metadata(folder)
    bad = [
        row | {"well": f"ZZ{row['well'][1:]}"} if row["plate"] == "1" and row["well"] != "A01" else row for row in rows
    ]
    zone.write_metadata(folder, bad)
    assert refused(check(zone))["plate_id"].to_list() == ["Plate1"]


def test_a_plate_that_is_only_in_the_metadata_is_named_once(zone):
    folder = zone.land()
    for image in (folder / "Plate1").iterdir():
        image.unlink()
    manifest = check(zone)
    found = manifest.findings.filter(plate_id="Plate1").sort("finding_kind")
    assert found.select("finding_kind", "consequence").rows() == [
        ("plate_refused", "plate_dropped"), ("row_without_images", "site_dropped")
    ]  # fmt: skip
    assert "Plate1: 6 sites in the metadata and no image of this plate" in found["message"][1]
    assert check(zone, max_dropped_frac=0.5, max_dropped_frac_of_plate=None).n_dropped == 6


def test_a_plate_that_has_only_images_is_named_once_and_costs_nothing_else(zone):
    folder = zone.land()
    zone.write_metadata(folder, [row for row in zone.read_metadata(folder) if row["plate"] == "2"])
    manifest = check(zone)
    assert manifest.findings.select("finding_kind", "plate_id", "well_id", "consequence").rows() == [
        ("images_without_row", "Plate1", None, "plate_dropped")
    ]
    assert "Plate1: 18 images of this plate, such as Plate1/A01_s1_w1.png" in manifest.findings["message"][0]
    assert manifest.n_sites == 6
    with pytest.raises(PlateRefused, match="on_bad_site is refuse"):
        check(zone, on_bad_site="refuse")


def test_the_share_of_a_plate_is_counted_by_hand():
    sites = [(plate, well, site) for plate in "PQ" for well in ("A01", "A02") for site in (1, 2)]
    columns = {"plate_id": pl.String, "well_id": pl.String, "site_index": pl.Int32}
    named = pl.DataFrame([*sites, sites[0]], schema=columns, orient="row")
    kept = named.filter((pl.col("plate_id") == "P") | (pl.col("well_id") == "A01"))
    dropped = {("Q", "A01", 1)}
    assert bad_plates(named, kept, dropped, 0.5) == [BadPlate("Q", 4, 3)]
    assert bad_plates(named, kept, dropped, 0.75) == bad_plates(named, kept, dropped, None) == []
