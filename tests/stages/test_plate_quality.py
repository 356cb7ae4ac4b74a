"""`plate_quality`: one table and two pictures per plate are published, once, from the store of the plan."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from cellassets.errors import CorruptArtifact
from cellassets.quality.summary import PlateQualitySummary
from cellassets.stages.snapshot import NotReady
from cellassets.stages.stores import open_store
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import QUALITY


def test_table_pictures_and_summary_are_published(screened):
    published = screened.make("plate_quality", "HUVEC-1")
    quality = read_table(published.path("quality.parquet"), QUALITY)
    store = open_store(screened.lake, screened.lake.records().need("plate_store", "HUVEC-1"))
    assert quality.height == published.record.summary["n_sites"] == store.n_sites
    plates = sorted(set(quality["plate_id"]))
    pictures = {f"heatmap_{plate}.png" for plate in plates} | {f"contact_{plate}.jpg" for plate in plates}
    assert set(published.names) == {"quality.parquet", *pictures}
    for name in pictures:
        assert np.asarray(Image.open(io.BytesIO(published.path(name).read_bytes()))).std() > 20
    summary = PlateQualitySummary.model_validate(published.record.summary)
    assert summary.model_dump(mode="json") == published.record.summary


def test_inspecting_again_does_nothing_and_a_deleted_record_gives_the_same_bytes(screen, monkeypatch):
    first = screen.make("plate_quality", "HUVEC-1")
    with monkeypatch.context() as patched:
        patched.setattr("cellassets.quality.inspect.inspect_store", lambda *_, **__: pytest.fail("inspected again"))
        assert screen.make("plate_quality", "HUVEC-1") == first
    first.artifact.record_path(1).unlink()
    assert screen.make("plate_quality", "HUVEC-1").record.files == first.record.files


def test_an_experiment_that_is_not_stored_waits_for_its_store(screen):
    with pytest.raises(NotReady, match="plate_store of HUVEC-9"):
        screen.plan("plate_quality", "HUVEC-9")


def test_a_damaged_shard_is_named_and_nothing_is_published(screen):
    screen.lake.artifact("plate_quality", "HUVEC-1").record_path(1).unlink()
    store = screen.lake.current("plate_store", "HUVEC-1")
    path = store.path(next(name for name in store.names if "/c/" in name))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CorruptArtifact, match="damaged index"):
        screen.make("plate_quality", "HUVEC-1")
    assert screen.lake.artifact("plate_quality", "HUVEC-1").find_record() is None


def test_quality_is_measured_on_the_store_of_its_plan(screen, made_from_pins, publish_newer):
    screen.lake.artifact("plate_quality", "HUVEC-1").record_path(1).unlink()
    screen.lake.scan()

    def publish():
        fewer = {"images.parquet": lambda images: images.filter(images["site_index"] == 1)}
        publish_newer(screen.deployment, "raw_plates", "HUVEC-1", change=fewer)
        screen.make("plate_store", "HUVEC-1")

    after = made_from_pins(screen, "plate_quality", ("HUVEC-1",), publish)
    assert after.summary["n_sites"] == screen.lake.current("plate_store", "HUVEC-1").record.summary["n_sites"]


def test_two_runs_at_once_publish_one_table(screen, made_once_by_two):
    screen.lake.artifact("plate_quality", "HUVEC-1").record_path(1).unlink()
    screen.lake.scan()
    made_once_by_two(screen, "plate_quality", "HUVEC-1")


def test_a_full_disk_leaves_nothing_visible(screen, monkeypatch):
    artifact = screen.lake.artifact("plate_quality", "HUVEC-1")
    artifact.record_path(1).unlink()

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        screen.make("plate_quality", "HUVEC-1")
    monkeypatch.undo()
    assert artifact.find_record() is None
