"""`raw_plates`: a manifest is published or refused as a whole, and its fingerprint is that of what was found."""

import os
import shutil

import pytest

from cellassets.errors import LayoutError, PlateRefused, StaleArtifact
from cellassets.screens.summary import RawPlatesSummary
from cellassets.stages.catalogue import stage_named
from cellassets.stages.stage import Context
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import FINDINGS, IMAGES, WELLS

IMAGE = "Plate1/B02_s1_w2.png"


def is_published(place):
    return place.lake.artifact("raw_plates", "E-1").find_record() is not None


def refuse_nothing(place, policy, **changes):
    place.set("policy.yaml", {"ingest": {**policy.model_dump(mode="json"), **changes}})


def test_tables_and_summary_are_published(zone, place):
    zone.land()
    published = place.make("raw_plates", "E-1")
    assert published.names == ["findings.parquet", "images.parquet", "wells.parquet"]
    heights = [
        read_table(published.path(f"{name}.parquet"), schema).height
        for name, schema in (("images", IMAGES), ("wells", WELLS), ("findings", FINDINGS))
    ]
    assert heights == [36, 6, 0]
    summary = RawPlatesSummary.model_validate(published.record.summary)
    assert summary.model_dump(mode="json", exclude_none=True) == published.record.summary
    assert set(published.record.summary) == {
        "n_plates", "n_wells", "n_sites", "n_images", "n_bytes", "n_findings", "n_dropped", "cell_types",
        "channel_names", "imaging", "wells_fingerprint", "wells_fingerprints", "landing_signature", "landing",
    }  # fmt: skip
    assert summary.landing == str(zone.root / "E-1")


def test_a_checked_folder_is_not_checked_again(zone, place, monkeypatch):
    zone.land()
    first = place.make("raw_plates", "E-1")
    monkeypatch.setattr("cellassets.screens.ingest.check_experiment", lambda *_, **__: pytest.fail("checked again"))
    assert place.make("raw_plates", "E-1") == first


def test_a_truncated_image_is_a_finding_and_drops_its_site(zone, place):
    path = zone.land() / IMAGE
    path.write_bytes(path.read_bytes()[:-40])
    published = place.make("raw_plates", "E-1")
    assert (published.record.summary["n_findings"], published.record.summary["n_dropped"]) == (1, 1)
    findings = read_table(published.path("findings.parquet"), FINDINGS)
    assert findings.select("finding_kind", "path").row(0) == ("truncated_image", IMAGE)


def test_a_refused_experiment_publishes_nothing_and_hands_over_the_findings(zone, place, policy):
    path = zone.land() / IMAGE
    path.write_bytes(path.read_bytes()[:-40])
    refuse_nothing(place, policy, on_bad_site="refuse")
    with pytest.raises(PlateRefused, match=r"E-1 refused: policy on_bad_site is refuse.*B02_s1_w2") as caught:
        place.make("raw_plates", "E-1")
    assert caught.value.findings["path"].to_list() == [IMAGE]
    assert not is_published(place)
    assert not place.lake.artifact("raw_plates", "E-1").data.exists(), "nothing half done is left"


def test_a_folder_that_is_not_there_is_refused(place):
    with pytest.raises(LayoutError, match="E-9: no such experiment in the landing zone"):
        place.make("raw_plates", "E-9")


def test_the_same_content_copied_again_keeps_its_fingerprint(zone, place):
    folder = zone.land()
    first = place.make("raw_plates", "E-1").record
    shutil.copytree(folder, zone.root / "copy")
    shutil.rmtree(folder)
    (zone.root / "copy").rename(folder)
    (folder / "_COMPLETE").write_text("again")
    again = place.make("raw_plates", "E-1").record
    assert (again.fingerprint, again.generation) == (first.fingerprint, 2)
    assert again.plan_fingerprint != first.plan_fingerprint
    assert again.summary["landing_signature"] != first.summary["landing_signature"]


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "notes.txt"])
def test_a_file_that_is_ignored_keeps_the_fingerprint(zone, place, name):
    folder = zone.land()
    first = place.make("raw_plates", "E-1").record
    (folder / "Plate1" / name).write_bytes(b"x")
    (folder / "_COMPLETE").write_text("again")
    again = place.make("raw_plates", "E-1").record
    assert (again.fingerprint, again.generation) == (first.fingerprint, 2)


def test_other_content_and_another_policy_change_the_fingerprint(zone, place, policy):
    folder = zone.land()
    first = place.make("raw_plates", "E-1").record.fingerprint
    refuse_nothing(place, policy, max_dropped_frac=0.4)
    by_policy = place.make("raw_plates", "E-1").record.fingerprint
    (folder / IMAGE).unlink()
    (folder / "_COMPLETE").write_text("again")
    assert len({first, by_policy, place.make("raw_plates", "E-1").record.fingerprint}) == 3


def test_a_folder_that_changes_between_plan_and_check_is_refused(zone, place):
    folder = zone.land()
    plan = place.plan("raw_plates", "E-1")
    (folder / "_COMPLETE").write_text("landed again")
    stage = stage_named("raw_plates")
    with pytest.raises(StaleArtifact, match="changed since its check was planned; materialise raw_plates again"):
        stage.make(Context(place.deployment), plan)
    assert not is_published(place)


def test_a_policy_that_changes_between_plan_and_check_changes_nothing(zone, place, policy):
    path = zone.land() / IMAGE
    path.write_bytes(path.read_bytes()[:-40])
    plan = place.plan("raw_plates", "E-1")
    refuse_nothing(place, policy, on_bad_site="refuse")
    record = stage_named("raw_plates").make(Context(place.deployment), plan)
    assert record.plan_fingerprint == plan.fingerprint
    assert record.summary["n_dropped"] == 1


def test_two_runs_at_once_publish_one_manifest(zone, place, made_once_by_two):
    zone.land()
    made_once_by_two(place, "raw_plates", "E-1")
    assert len(list(place.lake.artifact("raw_plates", "E-1").data.iterdir())) == 1, "the other run's files are gone"


def test_a_full_disk_leaves_nothing_visible(zone, place, monkeypatch):
    zone.land()

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        place.make("raw_plates", "E-1")
    monkeypatch.undo()
    assert not is_published(place)
    assert place.make("raw_plates", "E-1").record.summary["n_sites"] == 12
