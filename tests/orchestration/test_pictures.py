"""Pictures in the event log are bounded in bytes, however large an experiment is."""

import io

import dagster as dg
import numpy as np
import pytest
from PIL import Image
from upath import UPath

from assets.pictures import MAX_PICTURE_BYTES, MAX_THUMBNAIL_BYTES, chart, thumbnails
from cellassets.storage.artifact import PublishedFile, describe_content


def published(path) -> PublishedFile:
    """The file as one of a publication."""
    return PublishedFile(UPath(path), describe_content(path.read_bytes(), path.name))


@pytest.fixture
def pictures(tmp_path):
    """Noise, which compresses worst: 48 heat maps of 1,200 x 900 pixels."""
    rng = np.random.default_rng(1)
    paths = []
    for number in range(48):
        path = tmp_path / f"heatmap_{number:02d}.png"
        Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)).resize((1200, 900)).save(path)
        paths.append(published(path))
    return paths


def test_thumbnails_fit_their_bound_and_the_others_are_counted(pictures):
    shown = dict(thumbnails(pictures))
    left_out = shown.pop("n_pictures_only_in_place").value
    assert left_out == 48 - len(shown)
    assert 1 <= len(shown) < 48
    n_bytes = sum(len(value.value) for value in shown.values())
    assert n_bytes < MAX_THUMBNAIL_BYTES + 100 * len(shown)
    assert next(iter(shown)) == "heatmap_00"


def test_a_few_small_pictures_are_all_shown(tmp_path):
    content = io.BytesIO()
    Image.new("RGB", (640, 480), "white").save(content, "PNG")
    (tmp_path / "contact_1.png").write_bytes(content.getvalue())
    (value,) = thumbnails([published(tmp_path / "contact_1.png")]).values()
    assert value.value.startswith("![contact_1](data:image/jpeg;base64,")


def test_a_large_chart_stays_out_of_the_event_log():
    assert chart("scores", "data:x").value == "![scores](data:x)"
    large = chart("scores", "x" * (MAX_PICTURE_BYTES + 1))
    assert isinstance(large, dg.MarkdownMetadataValue)
    assert len(large.value) < 100
