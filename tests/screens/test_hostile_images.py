"""Files that are made to harm: they are refused by name, before they cost memory."""

import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from upath import UPath

from cellassets.errors import ImageError, LayoutError, PartitionKeyError
from cellassets.screens.codecs import MAX_PIXELS, decode_image
from cellassets.screens.ingest import check_experiment


def png(width, height, rows=b""):
    """A valid greyscale PNG of any claimed size."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    packed = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize("size", [(100_000, 100_000), (0xFFFFFFFF, 0xFFFFFFFF), (MAX_PIXELS + 1, 1)])
def test_a_small_file_that_claims_a_huge_image_is_refused_before_it_is_decoded(size, monkeypatch):
    monkeypatch.setattr(imagecodecs, "png_decode", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match=rf"bomb.png: {size[1]} x {size[0]} pixels in .* bytes; expected at most"):
        decode_image(png(*size), source="bomb.png")


def test_an_image_of_usual_size_is_decoded():
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    rows = b"".join(b"\x00" + row.tobytes() for row in pixels)
    np.testing.assert_array_equal(decode_image(png(4, 3, rows), source="a.png"), pixels)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" + b"IEND\xaeB`\x82", png(0, 0), png(4, 3, b"\x00")])
def test_a_png_of_nothing_is_refused(content):
    with pytest.raises(ImageError):
        decode_image(content, source="a.png")


def test_a_bomb_in_a_landed_folder_drops_its_site_and_is_named(zone, policy):
    folder = zone.land()
    (folder / "Plate1" / "B02_s1_w2.png").write_bytes(png(100_000, 100_000))
    found = check_experiment(UPath(zone.root), "E-1", policy=policy).findings
    assert "Plate1/B02_s1_w2.png: 100000 x 100000 pixels" in "\n".join(found["message"])


@pytest.mark.parametrize("experiment_id", ["..", "../E-1", "/etc", "E-1/../../x", "a\x00b"])
def test_an_experiment_that_is_a_path_is_refused(zone, policy, experiment_id):
    zone.land()
    with pytest.raises((LayoutError, PartitionKeyError)):
        check_experiment(UPath(zone.root), experiment_id, policy=policy)


def landed_with(zone, column, value):
    folder = zone.land()
    rows = zone.read_metadata(folder)
    rows[0][column] = value
    zone.write_metadata(folder, rows)
    return UPath(zone.root)


@pytest.mark.parametrize(("column", "value"), [("plate", "../../evil"), ("plate", "/etc"), ("site", "../1")])
def test_metadata_with_a_path_for_a_number_is_refused_by_line(zone, policy, column, value):
    root = landed_with(zone, column, value)
    with pytest.raises(LayoutError, match=rf"metadata.csv, line 2: {column}: (it names a file|expected a number)"):
        check_experiment(root, "E-1", policy=policy)


def test_metadata_with_a_path_for_a_well_reaches_no_file(zone, policy):
    manifest = check_experiment(landed_with(zone, "well", "../A01"), "E-1", policy=policy)
    assert not [path for path in manifest.images["path"] if ".." in path]
    assert not [well for well in [*manifest.images["well_id"], *manifest.wells["well_id"]] if "/" in well]
