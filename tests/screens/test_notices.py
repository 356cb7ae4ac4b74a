"""What would surprise the owner of an experiment later is said at once, and what cannot be true is refused."""

import numpy as np
import pytest
import tifffile
import yaml
from upath import UPath

from cellassets.errors import ConfigError, LayoutError
from cellassets.screens.ingest import check_experiment
from cellassets.screens.landing import scan_landing
from cellassets.screens.policy import IngestPolicy

HEADER = "plate,well,cell_type,perturbation_id,perturbation_kind,gene_symbol,compound_id,concentration_um,control_kind"


class Screen:
    """A plate of two-channel TIFF files with a plate map, as a person would bring it."""

    def __init__(self, root):
        self.folder = root / "E"
        rng = np.random.default_rng(3)
        for well, sites in (("A01", (1, 2)), ("A02", (1, 2))):
            for site in sites:
                for stain in ("DAPI", "Mito"):
                    self.image(f"p1/{well}_s{site}_{stain}.tif", rng.integers(0, 4000, (9, 8), np.uint16))
        self.describe(channels=[{"key": "DAPI", "name": "DAPI", "is_dna": True}, {"key": "Mito", "name": "Mito"}])
        self.plate_map(
            HEADER, "p1,A01,U2OS,DMSO,compound,,,,negative", "p1,A02,U2OS,aspirin,compound,,aspirin,1,treatment"
        )

    def image(self, name, pixels):
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(self.folder / name, pixels)

    def describe(self, **changes):
        images = {"path": "{plate}/{well}_s{site}_{channel:DAPI|Mito}.tif"}
        terms = {name: name for name in HEADER.split(",")[2:]} | {"plate_id": "plate", "well_id": "well"}
        terms["control_kind"] = {"column": "control_kind", "values": {"treatment": None, "negative": "negative"}}
        self.content = {
            "images": images,
            "metadata": {"tables": [{"path": "plate_map.csv"}], "terms": terms},
            **changes,
        }
        (self.folder / "experiment.yaml").write_text(yaml.safe_dump(self.content))

    def plate_map(self, *lines):
        (self.folder / "plate_map.csv").write_text("\n".join(lines) + "\n")

    def check(self):
        manifest = check_experiment(UPath(self.folder.parent), "E", policy=IngestPolicy(max_dropped_frac=0.9))
        return {row["finding_kind"]: row["message"] for row in manifest.findings.iter_rows(named=True)}


@pytest.fixture
def screen(tmp_path):
    return Screen(tmp_path)


def test_a_sound_screen_has_no_notice(screen):
    assert screen.check() == {}


def test_a_plate_without_negative_controls_is_named(screen):
    screen.plate_map(HEADER, "p1,A01,U2OS,DMSO,compound,,,,treatment", "p1,A02,U2OS,aspirin,compound,,,,treatment")
    assert "p1: no well has control_kind negative" in screen.check()["no_negative_control"]


@pytest.mark.parametrize(
    ("column", "misnamed"),
    [("control_kind", "control_type"), ("gene_symbol", "gene"), ("concentration_um", "concentration")],
)
def test_a_misnamed_column_is_named_with_the_one_that_is_meant(screen, column, misnamed):
    lines = (screen.folder / "plate_map.csv").read_text().splitlines()
    screen.plate_map(lines[0].replace(column, misnamed), *lines[1:])
    assert f"the column {misnamed} is not read; rename it if it is {column}" in screen.check()["unused_column"]


def test_a_screen_without_a_dna_channel_is_told_so_before_plate_quality(screen):
    screen.describe(channels=[{"key": "DAPI", "name": "blue"}, {"key": "Mito", "name": "red"}])
    assert "is_dna: true" in screen.check()["no_dna_channel"]


def test_a_top_grey_level_below_the_images_is_refused_with_one_of_them(screen):
    screen.describe(channels=screen.content["channels"], top_grey_level=12)
    words = (
        r"E/experiment.yaml: top_grey_level is 12, but 8 of 8 images have higher levels, .* with \d{4}; write .*4095"
    )
    with pytest.raises(LayoutError, match=words):
        screen.check()


@pytest.fixture
def clipped(tmp_path):
    """A plate of 12 bits in 16-bit files, of which every second image is clipped, and one pixel is hot."""
    screen = Screen(tmp_path)
    rng = np.random.default_rng(6)
    for number, path in enumerate(sorted(screen.folder.rglob("*.tif"))):
        pixels = rng.integers(0, 4095, (40, 41), np.uint16)
        if number % 2:
            pixels = np.minimum(pixels * 2, 4095)
        if number == 4:
            pixels[3, 3] = 65_535
        tifffile.imwrite(path, pixels)
    return screen


def manifest_of(screen):
    return check_experiment(UPath(screen.folder.parent), "E", policy=IngestPolicy())


def test_a_hot_pixel_does_not_hide_where_the_camera_ends(clipped):
    assert manifest_of(clipped).imaging.top_grey_level == 4095


def test_a_hot_pixel_above_the_declared_level_costs_nothing(clipped):
    rng = np.random.default_rng(7)
    for number in range(3, 15):
        for site in (1, 2):
            for stain in ("DAPI", "Mito"):
                clipped.image(f"p1/A{number:02d}_s{site}_{stain}.tif", rng.integers(0, 4095, (40, 41), np.uint16))
    wells = [f"p1,A{number:02d},U2OS,c{number},compound,,c{number},1,treatment" for number in range(2, 15)]
    clipped.plate_map(HEADER, "p1,A01,U2OS,DMSO,compound,,,,negative", *wells)
    clipped.describe(channels=clipped.content["channels"], top_grey_level=4095)
    manifest = manifest_of(clipped)
    assert (manifest.imaging.top_grey_level, manifest.n_dropped) == (4095, 0)


def test_wells_with_site_numbers_of_their_own_are_whole(screen):
    for name in ("s1", "s2"):
        for stain in ("DAPI", "Mito"):
            path = screen.folder / f"p1/A02_{name}_{stain}.tif"
            path.rename(screen.folder / f"p1/A02_s{int(name[1]) + 5}_{stain}.tif")
    assert screen.check() == {}


def test_a_site_that_nearly_all_wells_have_is_missed_where_it_is_absent(screen):
    rng = np.random.default_rng(4)
    lines = ["p1,A01,U2OS,DMSO,compound,,,,negative"]
    for number in range(2, 13):
        lines.append(f"p1,A{number:02d},U2OS,c{number},compound,,c{number},1,treatment")
        for site in (1, 2) if number != 7 else (1,):
            for stain in ("DAPI", "Mito"):
                screen.image(f"p1/A{number:02d}_s{site}_{stain}.tif", rng.integers(0, 4000, (9, 8), np.uint16))
    screen.plate_map(HEADER, *lines)
    assert "A07 site 2" in screen.check()["row_without_images"]


def test_an_excluded_plate_that_does_not_exist_is_refused(screen):
    screen.describe(channels=screen.content["channels"], exclude={"plates": ["p9"]})
    with pytest.raises(LayoutError, match="exclude: there is no plate p9; the plates are p1"):
        screen.check()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("chanels: []", r"chanels: unknown key \(did you mean channels\?\); the keys are layout, constants"),
        ("pixel_size_um: 0,65", "pixel_size_um.*found '0,65'"),
        ("images: {path: '{plate}/{wel}.tif'}", "unknown field 'wel'"),
    ],
)
def test_a_wrong_key_is_explained_in_one_sentence(screen, content, words):
    path = screen.folder / "experiment.yaml"
    kept = {name: value for name, value in screen.content.items() if name not in yaml.safe_load(content)}
    path.write_text(yaml.safe_dump(kept) + content + "\n")
    with pytest.raises(ConfigError, match=words) as caught:
        screen.check()
    assert "Field required" not in str(caught.value)


def test_a_number_is_a_key_of_a_channel(screen):
    screen.describe(channels=[{"key": 1, "name": "DAPI"}], images={"path": "{plate}/{well}_s{site}_DAPI.tif"})
    assert "duplicate_image" not in screen.check()


def test_an_experiment_with_a_plate_map_needs_no_marker(screen):
    (screen.folder / "experiment.yaml").unlink()
    (found,) = scan_landing(UPath(screen.folder.parent)).experiments
    assert (found.experiment_id, found.is_marked_complete) == ("E", False)


def test_a_folder_that_no_layout_fits_is_described(screen):
    (screen.folder / "experiment.yaml").rename(screen.folder / "experiment.yml")
    with pytest.raises(LayoutError, match=r"fits this folder, which holds experiment.yml, p1, plate_map.csv"):
        screen.check()
