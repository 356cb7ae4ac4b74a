"""Channel order and pixel size of OME-Zarr plates come from their metadata, unless experiment.yaml says them."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner
from upath import UPath

from cellassets.cli import app
from cellassets.errors import LayoutError
from cellassets.screens.ingest import check_experiment
from cellassets.screens.landed import StatedImage
from cellassets.screens.layouts.choose import choose_layout
from cellassets.screens.layouts.stated import stated_channels, stated_pixel_size
from cellassets.screens.policy import IngestPolicy

PLATE = "P001.ome.zarr"
FIELDS = [f"{well}/{field}" for well in ("A/1", "B/3") for field in (0, 1)]


@pytest.fixture(params=["0.5", "0.4"])
def screen(tmp_path, trees, request):
    """The folder of an experiment with one OME-Zarr plate, P001."""
    return tmp_path / trees.ome_zarr(tmp_path, version=request.param, side=16)


def change(folder, change_ome, fields=FIELDS, plate=PLATE):
    """Changes the OME metadata of images."""
    for field in fields:
        place = folder / plate / field
        path = next(path for path in (place / "zarr.json", place / ".zattrs") if path.exists())
        document = json.loads(path.read_text())
        change_ome(document["attributes"]["ome"] if path.name == "zarr.json" else document)
        path.write_text(json.dumps(document))


def add_plate(folder):
    """Adds the plate P002 with the same images."""
    shutil.copytree(folder / PLATE, folder / "P002.ome.zarr")
    lines = (folder / "plate_map.csv").read_text().splitlines()
    assert "plate" not in lines[0].split(",")  # the map is of every plate


def relabel(*labels):
    return lambda ome: ome.update(omero={"channels": [{"label": label} for label in labels]})


def scale(size, unit="micrometer", whole=None):
    def change_ome(ome):
        scales = ome["multiscales"][0]
        for axis in scales["axes"][2:]:
            axis["unit"] = unit
        scales["datasets"][0]["coordinateTransformations"] = [{"type": "scale", "scale": [1, 1, 1, 9, size]}]
        if whole is not None:
            scales["coordinateTransformations"] = [{"type": "scale", "scale": [1, 1, 1, 9, whole]}]

    return change_ome


def imaging_of(folder):
    return choose_layout(UPath(folder.parent), folder.name).read(UPath(folder.parent), folder.name).imaging


def declare(folder, **values):
    (folder / "experiment.yaml").write_text(json.dumps(values))


def test_channels_have_the_order_of_the_plate(screen):
    change(screen, relabel("Tubulin", "Actin"))
    manifest = check_experiment(UPath(screen.parent), screen.name, policy=IngestPolicy(on_bad_site="refuse"))
    assert manifest.imaging.channel_names == ("Tubulin", "Actin")
    parts = manifest.images.filter(well_id="A01", site_index=1).sort("channel_index")["part"].to_list()
    assert parts == ["array c 0 z 0 t 0", "array c 1 z 0 t 0"]


def test_numbers_as_labels_are_channels_in_their_order(screen):
    change(screen, relabel("02", "01"))
    assert imaging_of(screen).channel_names == ("channel 2", "channel 1")


def test_an_ignored_channel_does_not_count_and_declared_channels_have_their_own_order(screen):
    change(screen, relabel("Tubulin", "Actin"))
    declare(screen, ignored_channels=["Tubulin"])
    assert imaging_of(screen).channel_names == ("Actin",)
    declare(screen, channels=[{"key": "Actin", "name": "A"}, {"key": "Tubulin", "name": "T"}])
    assert imaging_of(screen).channel_names == ("A", "T")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (scale(0.65), 0.65),
        (scale(650, "nanometer"), 0.65),
        (scale(0.5, whole=1.3), 0.65),
        (scale(1, unit="pixel"), None),
        (scale(0), None),
        (scale("wide"), None),
        (lambda ome: ome["multiscales"][0]["datasets"][0].pop("coordinateTransformations"), None),
        (lambda ome: [axis.pop("unit", None) for axis in ome["multiscales"][0]["axes"]], None),
    ],
    ids=["micrometer", "nanometer", "two scales", "no length", "zero", "text", "no scale", "no unit"],
)
def test_the_pixel_size_is_the_scale_of_x_in_its_unit(screen, changed, expected):
    change(screen, changed)
    assert imaging_of(screen).pixel_size_um == (expected if expected is None else pytest.approx(expected))


def test_a_declared_pixel_size_replaces_that_of_the_plates(screen):
    declare(screen, pixel_size_um=0.3)
    assert imaging_of(screen).pixel_size_um == 0.3


def test_plates_that_differ_are_refused_with_both_names_until_experiment_yaml_decides(screen):
    add_plate(screen)
    change(screen, relabel("ER", "DAPI"), plate="P002.ome.zarr")
    with pytest.raises(LayoutError, match=r"DAPI, ER in P001\.ome\.zarr/A/1/0 and ER, DAPI in P002\.ome\.zarr/A/1/0"):
        imaging_of(screen)
    channels = [{"key": "DAPI", "name": "DNA"}, {"key": "ER", "name": "ER"}]
    declare(screen, channels=channels)
    assert imaging_of(screen).channel_names == ("DNA", "ER")
    change(screen, scale(0.325), plate="P002.ome.zarr")
    with pytest.raises(LayoutError, match=r"0\.65 um in P001\.ome\.zarr/A/1/0 and 0\.325 um in P002\.ome\.zarr/A/1/0"):
        imaging_of(screen)
    declare(screen, channels=channels, pixel_size_um=0.65)
    assert imaging_of(screen).pixel_size_um == 0.65
    declare(screen, exclude={"plates": ["P002"]})
    assert imaging_of(screen).channel_names == ("DAPI", "ER")


def test_images_of_one_plate_that_differ_are_refused(screen):
    change(screen, relabel("ER", "DAPI"), fields=["B/3/1"])
    with pytest.raises(LayoutError, match=r"in P001\.ome\.zarr/A/1/0 and ER, DAPI in P001\.ome\.zarr/B/3/1"):
        imaging_of(screen)


def test_screen_check_shows_both(screen):
    change(screen, relabel("Tubulin", "Actin"))
    shown = CliRunner().invoke(app, ["screen", "check", str(screen)])
    assert "2 channels: Tubulin, Actin" in shown.output
    assert "0.65 um per pixel" in shown.output


def stated(plate, *keys, size=None):
    return StatedImage(plate, f"{plate}/{len(keys)}", keys, size)


def test_an_image_that_lacks_a_channel_does_not_change_the_order():
    assert stated_channels([stated("P", "c", "a"), stated("P", "c", "b", "a"), stated("P", "b")]) == ["c", "b", "a"]


def test_plates_with_different_channels_are_refused():
    with pytest.raises(LayoutError, match=r"are c, a in P/2 and c in Q/1, .* Declare `channels`"):
        stated_channels([stated("P", "c", "a"), stated("Q", "c")])


def test_a_rounded_pixel_size_is_the_same_and_an_unknown_one_is_not():
    assert stated_pixel_size([stated("P", size=0.65), stated("Q", size=np.nextafter(0.65, 1))]) == 0.65
    with pytest.raises(LayoutError, match=r"0\.65 um in P/0 and not known in Q/0"):
        stated_pixel_size([stated("P", size=0.65), stated("Q")])


def test_without_metadata_nothing_is_stated():
    assert (stated_channels([]), stated_pixel_size([])) == ([], None)
