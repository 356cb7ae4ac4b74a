"""A layout is guessed from the names that microscopes and people write, and reads the folder it was guessed from."""

import imagecodecs
import numpy as np
import pytest
import tifffile
from upath import UPath

from cellassets.errors import LayoutError
from cellassets.screens.layouts.choose import choose_layout
from cellassets.screens.layouts.guess import guess_layout

WELLS, SITES = ("A01", "B12"), (1, 2)
GUID = "8C4C4E5C-5B5E-4F42-A0F3-6D6D5F2A9B"
NAMES = {
    "phenix": (
        "P1/Images/r{row:02d}c{column:02d}f{site:02d}p01-ch{channel}sk1fk1fl1.tiff",
        "{plate}/Images/r{row}c{column}f{site}p{z}-ch{channel}sk{time}fk1fl1.tiff",
    ),
    "imagexpress": (
        "P1/TimePoint_1/exp_{well}_s{site}_w{channel}" + GUID + "{channel}{site}.tif",
        "{plate}/TimePoint_1/exp_{well}_s{site}_w{channel:[0-9]}*.tif",
    ),
    "yokogawa": (
        "P1_{well}_T0001F{site:03d}L01A0{channel}Z01C0{channel}.tif",
        "{plate}_{well}_T{time}F{site}L01A*Z{z}C{channel}.tif",
    ),
    "flat": ("{well}_s{site}_w{channel}.png", "{well}_s{site}_w{channel}.png"),
    "stains": ("P1/{well}_{site}_{stain}_001.tif", "{plate}/{well}_{site}_{channel:DAPI|Mito}_001.tif"),
    "folders": ("P1/{well}/field_{site}_ch{channel}.png", "{plate}/{well}/field_{site}_ch{channel}.png"),
}


def write_tree(root, pattern):
    """Writes two wells, two sites and two channels with distinct images; returns the number of images."""
    rng = np.random.default_rng(0)
    for well in WELLS:
        for site in SITES:
            for channel in (1, 2):
                row, column = ord(well[0]) - ord("A") + 1, int(well[1:])
                stain = ("DAPI", "Mito")[channel - 1]
                name = pattern.format(well=well, row=row, column=column, site=site, channel=channel, stain=stain)
                path = root / "E" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 200, (8, 9), np.uint8)
                if path.suffix == ".png":
                    path.write_bytes(imagecodecs.png_encode(pixels))
                else:
                    tifffile.imwrite(path, pixels)


@pytest.mark.parametrize(("pattern", "template"), NAMES.values(), ids=NAMES)
def test_a_template_is_guessed_and_reads_every_image(tmp_path, pattern, template):
    write_tree(tmp_path, pattern)
    guess = guess_layout(UPath(tmp_path), "E")
    assert (guess.paths[0], guess.n_images, len(guess.channels), guess.others) == (template, 8, 2, ())
    assert [well for _, well in guess.wells] == list(WELLS)
    (tmp_path / "E/experiment.yaml").write_text(guess.experiment_yaml())
    filled = guess.plate_map().replace(",,,,,,,treatment", ",U2OS,DMSO,,,,,negative")
    (tmp_path / "E/plate_map.csv").write_text(filled)
    screen = choose_layout(UPath(tmp_path), "E").read(UPath(tmp_path), "E")
    assert len(screen.listing.images) == 8
    assert screen.sites.height == 4
    assert set(screen.sites["control_kind"]) == {"negative"}
    assert screen.imaging.dna_index == 0
    assert screen.listing.others == []


def test_pages_of_a_file_are_channels(tmp_path):
    (tmp_path / "E").mkdir()
    for number, well in enumerate(WELLS):
        tifffile.imwrite(
            tmp_path / "E" / f"{well}_s1.tif", np.full((3, 8, 9), number, np.uint16), photometric="minisblack"
        )
    guess = guess_layout(UPath(tmp_path), "E")
    assert (guess.n_pages, guess.channels, guess.n_images) == (3, ("1", "2", "3"), 6)
    assert "pages: channel" in guess.experiment_yaml()


def test_thumbnails_are_not_images(tmp_path):
    write_tree(tmp_path, "P1/{well}_s{site}_w{channel}.png")
    (tmp_path / "E/P1/A01_s1_w1_thumb.png").write_bytes(b"small")
    guess = guess_layout(UPath(tmp_path), "E")
    assert (guess.n_images, guess.others) == (8, ())
    assert "ignored_files: ['*[Tt]humb*']" in guess.experiment_yaml()


def test_names_without_a_well_are_refused_with_an_example(tmp_path):
    (tmp_path / "E").mkdir()
    (tmp_path / "E/photo_1.png").write_bytes(b"x")
    with pytest.raises(LayoutError, match=r"no well in the names of its images, such as photo_1.png"):
        guess_layout(UPath(tmp_path), "E")
    (tmp_path / "E/photo_1.png").unlink()
    with pytest.raises(LayoutError, match="no image"):
        guess_layout(UPath(tmp_path), "E")


def test_two_time_points_are_refused_by_name(tmp_path):
    write_tree(tmp_path, "P1/{well}_t1_s{site}_w{channel}.png")
    write_tree(tmp_path, "P1/{well}_t2_s{site}_w{channel}.png")
    with pytest.raises(LayoutError, match=r"2 time points: 1 \(P1/A01_t1_s1_w1.png\), 2 "):
        guess_layout(UPath(tmp_path), "E")
