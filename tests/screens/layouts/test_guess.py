"""A layout is guessed from the names that microscopes and people write, and reads the folder it was guessed from."""

import itertools

import imagecodecs
import numpy as np
import pytest
import tifffile
from upath import UPath

from cellassets.errors import LayoutError
from cellassets.screens.layouts.choose import choose_layout
from cellassets.screens.layouts.guess import guess_layout, propose_layout

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


def write_names(root, pattern, **fields):
    """Writes an empty file for every combination of the fields' values; only names are looked at."""
    for values in itertools.product(*fields.values()):
        path = root / "E" / pattern.format(**dict(zip(fields, values, strict=True)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


PROPOSED = {  # pattern, values of `c`, template, channels, most planes
    "a stain that is not in the list": (
        "P1/{w}_s{s}_{c}.tif", ("DAPI", "FITC", "Blob"), "{plate}/{well}_s{site}_{channel:Blob|DAPI|FITC}.tif",
        {"DAPI", "FITC", "Blob"}, 1),
    "a stain of two words": (
        "{w} site {s} {c}.tif", ("DAPI", "Alexa 488"), "{well} site {site} {channel:Alexa 488|DAPI}.tif",
        {"DAPI", "Alexa 488"}, 1),
    "stains of two words": (
        "{w} site {s} {c}.tif", ("Alexa 568", "Alexa 488", "Hoechst 33342"),
        "{well} site {site} {channel:Alexa 488|Alexa 568|Hoechst 33342}.tif",
        {"Alexa 568", "Alexa 488", "Hoechst 33342"}, 1),
    "a site without a mark beside two words": (
        "P1/{w}_{s}_{c}_001.tif", ("DAPI", "Alexa 488"), "{plate}/{well}_{site}_{channel:Alexa 488|DAPI}_001.tif",
        {"DAPI", "Alexa 488"}, 1),
    "folders of channels": (
        "P1/{c}/{w}_{s}.tif", ("DAPI", "Mito"), "{plate}/{channel:DAPI|Mito}/{well}_{site}.tif", {"DAPI", "Mito"}, 1),
    "folders of channels without a plate": (
        "{c}/{w}_{s}.tif", ("DAPI", "Mito"), "{channel:DAPI|Mito}/{well}_{site}.tif", {"DAPI", "Mito"}, 1),
    "wavelengths": (
        "P1/{w}_{s}_{c}.tif", ("405", "488"), "{plate}/{well}_{site}_{channel}.tif", {"405", "488"}, 1),
    "a stain like a plane": (
        "P1/{w}_s{s}_{c}.tif", ("P53", "DAPI"), "{plate}/{well}_s{site}_{channel:DAPI|P53}.tif", {"P53", "DAPI"}, 1),
    "a constant channel number": (
        "P1/{w}_s{s}_c1_{c}.tif", ("ER", "DAPI"), "{plate}/{well}_s{site}_c1_{channel:DAPI|ER}.tif", {"ER", "DAPI"}, 1),
    "folders of planes": (
        "P1/ZStep_{c}/{w}_s{s}_DAPI.tif", (1, 2, 3), "{plate}/ZStep_{z}/{well}_s{site}_{channel:DAPI}.tif",
        {"DAPI"}, 3),
}  # fmt: skip


@pytest.mark.parametrize(("pattern", "values", "template", "channels", "n_planes"), PROPOSED.values(), ids=PROPOSED)
def test_what_differs_between_images_of_a_site_is_proposed(tmp_path, pattern, values, template, channels, n_planes):
    write_names(tmp_path, pattern, w=WELLS, s=SITES, c=values)
    proposal = propose_layout(UPath(tmp_path), "E")
    assert (proposal.paths, set(proposal.channels), proposal.n_planes) == ((template,), channels, n_planes)
    assert (proposal.n_files, proposal.n_found) == (4 * len(values), 4 * len(values))
    assert proposal.problems() == []
    assert ("z_projection: maximum" in proposal.experiment_yaml()) == (n_planes > 1)


def test_images_that_would_be_one_are_named(tmp_path):
    write_names(tmp_path, "P1/day{d}/{w}_s{s}_{c}.tif", d=(1, 2), w=WELLS, s=SITES, c=("DAPI", "Mito"))
    (problem,) = propose_layout(UPath(tmp_path), "E").problems()
    assert problem.startswith("P1/day1/A01_s1_DAPI.tif and P1/day2/A01_s1_DAPI.tif would be one image")
    assert "put {channel} or {z} where the names differ" in problem


def test_too_many_values_are_no_channels_but_a_problem(tmp_path):
    write_names(tmp_path, "P1/{w}_s1_{c}.tif", w=WELLS, c=[letter * 3 for letter in "abcdefghijklm"])
    assert "P1/A01_s1_aaa.tif and P1/A01_s1_bbb.tif" in propose_layout(UPath(tmp_path), "E").problems()[0]


def test_images_that_do_not_fit_are_counted(tmp_path):
    write_names(tmp_path, "P1/{w}_s{s}_w{c}.tif", w=WELLS, s=range(1, 11), c=(1, 2))
    (tmp_path / "E/P1/overview.tif").touch()
    proposal = propose_layout(UPath(tmp_path), "E")
    assert proposal.problems() == []
    assert proposal.warnings()[0].startswith("1 of 41 images do not fit and would be ignored, such as P1/overview.tif")
    (tmp_path / "E/P1/overview 2.tif").touch()
    proposal = propose_layout(UPath(tmp_path), "E")
    assert proposal.warnings() == []
    assert proposal.problems()[0].startswith("2 of 42 images do not fit")


PLATES = {
    "a word before": (("Plate 1", "Plate 2"), "Plate {plate}", ["1", "2"]),
    "two digits": (("Plate 10", "Plate 12"), "Plate {plate}", ["10", "12"]),
    "one plate": (("Plate 1",), "Plate {plate}", ["1"]),
    "a word after": (("Plate 1 (copy)",), "Plate {plate} (copy)", ["1"]),
    "measurement": (
        ("P001__2024-05-01T10_00_00-Measurement 1", "P002__2024-05-02T10_00_00-Measurement 1"),
        "{plate:[^/]+?}__{_}", ["P001", "P002"]),
}  # fmt: skip


@pytest.mark.parametrize(("folders", "template", "plates"), PLATES.values(), ids=PLATES)
def test_plates_keep_a_valid_identifier(tmp_path, folders, template, plates):
    write_names(tmp_path, "{p}/{w}_s1_w{c}.tif", p=folders, w=WELLS, c=(1, 2))
    proposal = propose_layout(UPath(tmp_path), "E")
    assert proposal.paths == (f"{template}/{{well}}_s{{site}}_w{{channel}}.tif",)
    assert sorted({plate for plate, _ in proposal.wells}) == plates
    assert proposal.problems() == []


def test_plates_without_a_valid_identifier_are_a_problem(tmp_path):
    write_names(tmp_path, "{p}/{w}_s1_w{c}.tif", p=("\u00e4 \u00e4", "\u00fc"), w=WELLS, c=(1, 2))
    (problem,) = propose_layout(UPath(tmp_path), "E").problems()
    assert "cannot be the name of a plate" in problem
    assert "as in Plate {plate}/..." in problem


SHIPPED = {"opera_phenix": ("opera-phenix", 2), "imagexpress": ("imagexpress", 3), "ome_zarr": ("ome-zarr", 2)}


@pytest.mark.parametrize("tree", SHIPPED)
def test_an_export_without_a_plate_map_gets_its_shipped_layout(tmp_path, trees, tree):
    layout, n_channels = SHIPPED[tree]
    experiment = getattr(trees, tree)(tmp_path)
    for name in ("plate_map.csv", "experiment.yaml"):
        (tmp_path / experiment / name).unlink(missing_ok=True)
    proposal = propose_layout(UPath(tmp_path), experiment)
    assert (proposal.layout, len(proposal.channels), proposal.problems()) == (layout, n_channels, [])
    assert proposal.wells == (("P001", "A01"), ("P001", "B03"))
    written = proposal.experiment_yaml()
    assert f"layout: {layout}" in written
    assert "images:" not in written
    (tmp_path / experiment / "experiment.yaml").write_text(written)
    filled = proposal.plate_map().replace(",,,,,,,treatment", ",U2OS,DMSO,,,,,negative")
    (tmp_path / experiment / "plate_map.csv").write_text(filled)
    screen = choose_layout(UPath(tmp_path), experiment).read(UPath(tmp_path), experiment)
    assert (screen.sites.height, len(screen.listing.images)) == (4, 4 * n_channels)
    assert screen.imaging.dna_index == 0
    if tree == "ome_zarr":
        assert proposal.channels == ("DAPI", "ER")


def test_planes_and_names_of_plates_are_said_beside_a_shipped_layout(tmp_path):
    name = "Plate {p}/Images/r01c0{c}f01p0{z}-ch{ch}sk1fk1fl1.tiff"
    write_names(tmp_path, name, p=(1, 2), c=(1, 2), z=(1, 2, 3), ch=(1, 2))
    proposal = propose_layout(UPath(tmp_path), "E")
    assert (proposal.layout, proposal.n_planes, proposal.problems()) == ("opera-phenix", 3, [])
    assert [plate for plate, _ in proposal.wells] == ["1", "1", "2", "2"]
    (tmp_path / "E/experiment.yaml").write_text(proposal.experiment_yaml())
    filled = proposal.plate_map().replace(",,,,,,,treatment", ",U2OS,DMSO,,,,,negative")
    (tmp_path / "E/plate_map.csv").write_text(filled)
    screen = choose_layout(UPath(tmp_path), "E").read(UPath(tmp_path), "E")
    assert (screen.imaging.z_projection, len(screen.listing.images)) == ("maximum", 24)
