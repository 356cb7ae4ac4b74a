"""Exported plates, wells and sites hold the pixels of the store, follow the specification, and open in ome-zarr-py."""

import pickle
import signal
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models.v05 import HCS, Image
from ome_zarr_models.v05 import Well as WellModel

from cellassets.errors import ExportError, LayoutError
from cellassets.exporting import ome_zarr as module
from cellassets.exporting.ome_zarr import export_ome_zarr
from cellassets.exporting.selection import Place

SOURCE = {"asset": "plate_store", "fingerprint": "abc"}
BLUE = "2640FF"


@pytest.fixture
def target(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "made.ome.zarr"


def export(store, place, target, **options):
    return export_ome_zarr(store, Place.of(place), target, source=SOURCE, **options)


def ome(target, path=""):
    return zarr.open_group(str(target / path), mode="r").attrs["ome"]


def first_node(target):
    """What napari-ome-zarr shows: the first node of ome-zarr-py's reader."""
    return next(iter(Reader(parse_url(str(target)))()))


def files_of(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(("size", "n_channels"), [((16, 24), 1), ((33, 47), 3), ((261, 300), 2)])
def test_every_pixel_of_a_plate_is_equal_to_the_stored_one(make_store, target, dtype, size, n_channels):
    screen, store = make_store(dtype=dtype, size=size, n_channels=n_channels)
    assert store.dtype == dtype
    made = export(store, "Plate1", target)
    assert (made.n_wells, made.n_sites) == (3, 6)
    for well in screen.wells:
        for site in (1, 2):
            array = zarr.open_array(str(target / well[0] / well[1:] / str(site) / "0"), mode="r")
            assert array.dtype == dtype
            np.testing.assert_array_equal(array[:], screen.site("Plate1", well, site))


def test_plates_wells_and_sites_follow_the_specification(make_store, target, tmp_path):
    _, store = make_store(size=(261, 300))
    with warnings.catch_warnings(action="error"):
        export(store, "Plate2", target)
        plate = HCS.from_zarr(zarr.open_group(str(target), mode="r"))
        wells = [WellModel.from_zarr(zarr.open_group(str(target / path), mode="r")) for path in ("A/01", "B/10")]
        image = Image.from_zarr(zarr.open_group(str(target / "B/02/2"), mode="r"))
    assert [well.path for well in plate.ome_attributes.plate.wells] == ["A/01", "B/02", "B/10"]
    assert [(well.rowIndex, well.columnIndex) for well in plate.ome_attributes.plate.wells] == [(0, 0), (1, 1), (1, 9)]
    assert (len(plate.ome_attributes.plate.rows), len(plate.ome_attributes.plate.columns)) == (8, 12)
    assert plate.ome_attributes.plate.field_count == 2
    assert [[one.path for one in well.ome_attributes.well.images] for well in wells] == [["1", "2"]] * 2
    assert len(image.ome_attributes.multiscales[0].datasets) == 2
    for name, place, model in (("w", "Plate2/B02", WellModel), ("s", "Plate2/B02/1", Image)):
        export(store, place, tmp_path / name)
        model.from_zarr(zarr.open_group(str(tmp_path / name), mode="r"))


def test_a_broken_plate_is_refused_by_the_same_validation(make_store, target):
    _, store = make_store()
    export(store, "Plate1", target)
    group = zarr.open_group(str(target), mode="r+")
    wrong = dict(group.attrs["ome"])
    wrong["plate"]["wells"][0]["path"] = "Z/01"
    group.attrs["ome"] = wrong
    with pytest.raises(ValueError, match="row 'Z'"):
        HCS.from_zarr(group)


def test_ome_zarr_py_reads_the_plate_as_one_picture(make_store, target):
    screen, store = make_store(size=(257, 300), dtype="uint16", wells=("A01", "B03"))
    export(store, "Plate1", target)
    node = first_node(target)
    assert node.metadata["channel_names"] == ["ConA", "Hoechst", "Phalloidin"]
    assert [level.shape for level in node.data] == [(3, 8 * 257, 12 * 300), (3, 8 * 129, 12 * 150)]
    plate = node.data[0]
    np.testing.assert_array_equal(plate[:, 257 : 2 * 257, 600:900].compute(), screen.site("Plate1", "B03", 1))
    assert not plate[:, :257, 300:600].compute().any()  # A02 has no images


def test_ome_zarr_py_reads_a_well_and_a_site(make_store, target, tmp_path):
    screen, store = make_store(size=(20, 30), n_sites=3)
    export(store, "Plate1/B02", target)
    well = first_node(target).data[0].compute()
    assert well.shape == (3, 40, 60)  # a grid of 2 x 2 fields
    np.testing.assert_array_equal(well[:, :20, 30:], screen.site("Plate1", "B02", 2))
    export(store, "Plate1/b2/3", tmp_path / "site")
    node = first_node(tmp_path / "site")
    np.testing.assert_array_equal(node.data[0].compute(), screen.site("Plate1", "B02", 3))
    assert node.metadata["axes"][1] == {"name": "y", "type": "space", "unit": "micrometer"}


def test_pixel_sizes_grow_and_centres_move_with_the_level(make_store, target):
    _, store = make_store(size=(520, 600), wells=("A01",), n_sites=1)
    export(store, "Plate1/A01/1", target)
    found = [dataset["coordinateTransformations"] for dataset in ome(target)["multiscales"][0]["datasets"]]
    assert [one["scale"] for one, *_ in found] == [[1.0, 0.65, 0.65], [1.0, 1.3, 1.3], [1.0, 2.6, 2.6]]
    assert [len(each) for each in found] == [1, 2, 2]
    # the centre of the first pixel of level 1 lies between pixels 0 and 1, that of level 2 between pixels 1 and 2
    assert [each[1]["translation"] for each in found[1:]] == [
        [0.0, *[pytest.approx(0.5 * 0.65)] * 2],
        [0.0, *[pytest.approx(1.5 * 0.65)] * 2],
    ]


def test_without_a_pixel_size_positions_are_pixels_without_a_unit(make_store, target):
    _, store = make_store(pixel_size_um=None)
    export(store, "Plate1/A01/1", target)
    (multiscale,) = ome(target)["multiscales"]
    assert multiscale["axes"][1:] == [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    assert multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0, 1.0, 1.0]
    Image.from_zarr(zarr.open_group(str(target), mode="r"))


def test_contrast_limits_are_percentiles_of_the_plate_and_equal_in_all_wells(make_store, target, tmp_path):
    screen, store = make_store(dtype="uint16", top_grey_level=65_000)
    export(store, "Plate1", target)
    export(store, "Plate1/B10/2", tmp_path / "site")
    windows = [
        [channel["window"] for channel in ome(folder, path)["omero"]["channels"]]
        for folder, path in ((target, "A/01/1"), (target, "B/10/2"), (tmp_path / "site", ""))
    ]
    assert windows[0] == windows[1] == windows[2]
    pixels = np.stack([screen.site(*place) for place in screen.places() if place[0] == "Plate1"])
    for channel, window in enumerate(windows[0]):
        low, high = np.percentile(pixels[:, channel], (5, 99.8), method="inverted_cdf")
        assert window == {"min": 0, "max": max(65_000, int(high)), "start": int(low), "end": int(high)}


def test_dna_is_blue_and_every_other_channel_has_another_colour(make_store, target):
    _, store = make_store(n_channels=7)
    export(store, "Plate1/A01/1", target)
    channels = ome(target)["omero"]["channels"]
    assert [channel["label"] for channel in channels if channel["color"] == BLUE] == ["Hoechst"]
    assert len({channel["color"] for channel in channels[:6]}) == 6


def test_missing_sites_and_wells_are_left_out_and_the_plate_still_opens(make_store, target):
    missing = {("Plate1", "A01", 1), ("Plate1", "B10", 1), ("Plate1", "B10", 2)}
    screen, store = make_store(missing=frozenset(missing))
    made = export(store, "Plate1", target)
    assert (made.n_wells, made.n_sites) == (2, 3)
    plate = HCS.from_zarr(zarr.open_group(str(target), mode="r")).ome_attributes.plate
    assert [well.path for well in plate.wells] == ["A/01", "B/02"]
    assert ome(target, "A/01")["well"]["images"] == [{"path": "2"}]
    picture = first_node(target).data[0].compute()
    np.testing.assert_array_equal(picture[:, :16, :24], screen.site("Plate1", "A01", 2))


def test_groups_say_where_they_come_from_and_what_was_done_to_the_well(make_store, target):
    _, store = make_store()
    export(store, "Plate1", target)
    about = [dict(zarr.open_group(str(target / path), mode="r").attrs["cellassets"]) for path in ("", "B/02", "B/02/1")]
    assert about[0] == {"experiment_id": "E-1", **SOURCE}
    assert (about[1]["perturbation_id"], about[1]["cell_type"]) == ("gene_B02", "HUVEC")
    assert about[2] == {"experiment_id": "E-1", "plate_id": "Plate1", "well_id": "B02", "site_index": 1}


def test_each_level_is_one_file_with_a_chunk_per_channel(make_store, target):
    _, store = make_store(size=(261, 300))
    made = export(store, "Plate1/A01/1", target)
    assert made.n_files == 1 + 2 * 2  # zarr.json of the image; zarr.json and one shard per level
    assert made.n_bytes == sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    assert zarr.open_array(str(target / "0"), mode="r").chunks == (1, 261, 300)


def test_planes_larger_than_a_chunk_come_back(make_store, target, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_SIDE", 100)
    screen, store = make_store(size=(130, 220), wells=("A01",), n_sites=1)
    export(store, "Plate1/A01/1", target)
    array = zarr.open_array(str(target / "0"), mode="r")
    assert (array.chunks, array.shards) == ((1, 100, 100), (3, 200, 300))
    np.testing.assert_array_equal(array[:], screen.site("Plate1", "A01", 1))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("Plate3", "experiment E-1 has no stored images of plate Plate3; there are Plate1, Plate2"),
        ("Plate1/C03", "plate Plate1 of experiment E-1 has no stored images of well C03; there are A01, B02, B10"),
        ("Plate1/B2/7", "well B02 of plate Plate1 of experiment E-1 has no stored images of site 7; there are 1, 2"),
    ],
)
def test_what_is_not_stored_is_named_with_what_there_is(make_store, target, place, message):
    _, store = make_store()
    with pytest.raises(ExportError, match=message):
        export(store, place, target)
    assert not files_of(target.parent)


@pytest.mark.parametrize("place", ["", "/B02", "Plate1/B02/x", "Plate1/B02/1/2"])
def test_a_place_in_another_form_is_refused(place):
    with pytest.raises(ExportError, match="such as Plate1, Plate1/B07 or Plate1/B07/2"):
        Place.of(place)


def test_a_well_without_a_column_is_refused():
    with pytest.raises(LayoutError, match="expected row letters and a column number"):
        Place.of("Plate1/B")


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_export_leaves_nothing_and_can_be_repeated(make_store, target, error):
    screen, store = make_store()
    seen = []

    def stop(n_done, n_total, what, /, note=""):  # noqa: ARG001
        seen.extend(files_of(target.parent))
        raise error

    with pytest.raises(type(error)):
        export(store, "Plate1", target, progress=stop)
    assert any(path.name == "zarr.json" for path in seen)  # it had begun
    assert not any(path.parts[0] == target.name for path in seen)
    assert files_of(target.parent) == []
    export(store, "Plate1", target)
    array = zarr.open_array(str(target / "B/10/2/0"), mode="r")
    np.testing.assert_array_equal(array[:], screen.site("Plate1", "B10", 2))


def test_a_killed_export_is_not_seen_and_can_be_repeated(make_store, target, tmp_path):
    _, store = make_store()
    (tmp_path / "store.pickle").write_bytes(pickle.dumps(store))
    program = (
        "import os, pickle, signal, sys; from pathlib import Path\n"
        "from cellassets.exporting.ome_zarr import export_ome_zarr\n"
        "from cellassets.exporting.selection import Place\n"
        "store = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "def kill(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
        "export_ome_zarr(store, Place('Plate1'), Path(sys.argv[2]), source={}, progress=kill)\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "store.pickle"), str(target)]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    assert [path.name.endswith(".partial") for path in target.parent.iterdir()] == [True]
    export(store, "Plate1", target)
    HCS.from_zarr(zarr.open_group(str(target), mode="r"))


def test_a_damaged_shard_ends_the_export(make_store, target, tmp_path):
    _, store = make_store()
    path = next(path for path in (tmp_path / "packed/Plate1.zarr/c").rglob("*") if path.is_file())
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match="damaged chunk"):
        export(store, "Plate1", target)
    assert files_of(target.parent) == []


def test_what_appears_at_the_target_meanwhile_is_not_replaced(make_store, target):
    _, store = make_store()

    def occupy(n_done, n_total, what, /, note=""):  # noqa: ARG001
        target.mkdir(exist_ok=True)

    with pytest.raises(ExportError, match="exists already, and exports replace nothing"):
        export(store, "Plate1", target, progress=occupy)
    assert files_of(target.parent) == [target.relative_to(target.parent)]


def test_memory_does_not_grow_with_the_number_of_sites(make_store, target, tmp_path):
    screen, store = make_store(size=(400, 400), wells=tuple(f"A{column:02d}" for column in range(1, 13)))
    site_bytes = screen.site("Plate1", "A01", 1).nbytes
    export(store, "Plate1/A01", tmp_path / "first")  # imports and caches
    peaks = []
    for place, folder in (("Plate1/A02", tmp_path / "well"), ("Plate1", target)):
        tracemalloc.start()
        export(store, place, folder)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 4 * site_bytes  # 2 sites, and 24 sites
