"""Functions are written for every layout, where it says, and only there; what exists or is damaged is named."""

import dataclasses
import json

import imagecodecs
import numpy as np
import pytest
from upath import UPath

from cellassets.errors import ImageError, LayoutError, PartitionKeyError
from cellassets.images.illumination_estimate import MeanImage
from cellassets.images.illumination_files import IlluminationWriter, sample
from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.screens.ingest import check_experiment
from cellassets.screens.layouts.choose import choose_layout
from cellassets.screens.layouts.declared import DeclaredLayout
from cellassets.screens.policy import IngestPolicy

WIDTH = 0.25
IMAGE = "Plate1/B02_s1_w2.png"


def write(landing, experiment="E-1", width=WIDTH, n_images=1000, **options):
    writer = IlluminationWriter(UPath(landing), experiment, width, n_images, **options)
    return list(writer.write()), writer.skipped


def files_in(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def configure(folder, **content):
    shared = json.loads((folder.parent / "experiment.yaml").read_text())
    (folder / "experiment.yaml").write_text(json.dumps({**shared, **content}))


def function_of(images, width=WIDTH):
    mean = MeanImage(images[0].shape)
    for image in images:
        mean.add(image)
    return mean.estimate(width).function


def test_there_is_one_function_per_plate_and_channel_and_no_other_change(zone):
    folder = zone.land()
    before = files_in(folder)
    found, skipped = write(zone.root)
    after = files_in(folder)
    expected = {f"illumination/Plate{plate}_{channel}.npy" for plate in (1, 2) for channel in (1, 2, 3)}
    assert set(after) - set(before) == expected
    assert all(after[name] == content for name, content in before.items())
    assert {function.path for function in found} == {str(folder / name) for name in expected}
    assert {(function.outcome, function.n_images, function.is_applied) for function in found} == {("written", 6, False)}
    assert skipped == []
    names = [f"Plate2/{well}_s{site}_w3.png" for well in ("A01", "B02", "C03") for site in (1, 2)]
    function = np.load(folder / "illumination/Plate2_3.npy")
    assert function.dtype == np.float32
    np.testing.assert_array_equal(function, function_of([zone.pixels(folder, name) for name in names]))


def test_planted_light_is_found_and_the_store_is_even(zone, tmp_path):
    zone = type(zone)(zone.root, size=(48, 64), n_channels=1)
    wells = [f"{row}{column:02d}" for row in "ABCD" for column in range(1, 7)]
    folder = zone.land(plates=(1,), wells=wells)
    y, x = np.mgrid[-1:1:48j, -1:1:64j]
    truth = 1 - 0.2 * y**2 - 0.2 * (x - 0.2) ** 2
    for path in (folder / "Plate1").iterdir():
        path.write_bytes(imagecodecs.png_encode(np.rint(zone.pixels(folder, path.name) * truth).astype(np.uint8)))
    found, _ = write(zone.root)
    function = np.load(found[0].path)
    error = (function / function.mean()) / (truth / truth.mean()) - 1
    assert np.sqrt(np.mean(error**2)) < 0.02
    configure(folder, correct_illumination=True)
    manifest = check_experiment(UPath(zone.root), "E-1", policy=IngestPolicy(on_bad_site="refuse"))
    packing = Packing(UPath(folder), UPath(tmp_path / "store"), manifest.imaging)
    store = ExperimentStore.open(
        UPath(tmp_path / "store"), pack_plates(manifest.images, manifest.wells, packing).files, "E-1"
    )
    mean = store.read(range(48))[:, 0].mean(axis=0)
    middle = mean[18:30, 24:40].mean()
    for corner in (mean[:12, :16], mean[:12, -16:], mean[-12:, :16], mean[-12:, -16:]):
        assert corner.mean() == pytest.approx(middle, rel=0.05)
    assert write(zone.root, is_replacing=True)[0][0].is_applied


LAYOUTS = {
    "rxrx1": ("illumination/Plate1_{}.npy", ("1", "2", "3", "4", "5", "6")),
    "rxrx3_core": ("illumination/Plate1_{}.npy", ("1", "2", "3", "4", "5", "6")),
    "jump": (
        "images/2020_11_04_CPJUMP1/illum/BR00116991/BR00116991_Illum{}.npy",
        ("DNA", "ER", "RNA", "AGP", "Mito"),
    ),
    "opera_phenix": ("illumination/P001_{}.npy", ("1", "2")),
    "imagexpress": ("illumination/P001_{}.npy", ("1", "2", "3")),  # channels that are found, not declared
    "ome_zarr": ("illumination/P001_{}.npy", ("DAPI", "ER")),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_has_its_functions_and_applies_them(trees, tmp_path, name):
    experiment = getattr(trees, name)(tmp_path)
    path, keys = LAYOUTS[name]
    before = check_experiment(UPath(tmp_path), experiment, policy=IngestPolicy())
    found, _ = write(tmp_path, experiment, width=0.05)
    assert [function.path for function in found] == [str(tmp_path / experiment / path.format(key)) for key in keys]
    own = tmp_path / experiment / "experiment.yaml"
    own.write_text((own.read_text() if own.exists() else "{}").replace("{", '{"correct_illumination": true, ', 1)
                   if name != "jump" else f"{own.read_text()}correct_illumination: true\n")  # fmt: skip
    after = check_experiment(UPath(tmp_path), experiment, policy=IngestPolicy())
    assert after.findings.equals(before.findings)
    assert list(after.imaging.illumination_crc32c) == [found[0].plate_id]
    assert len(after.imaging.illumination) == len(after.imaging.channel_names) == len(keys)


def test_planes_are_projected_as_they_are_stored(trees, tmp_path):
    experiment = trees.opera_phenix(tmp_path, n_planes=2)
    found, _ = write(tmp_path, experiment, width=0.05)
    assert {function.n_images for function in found} == {4}
    names = [f"r{row:02d}c{column:02d}f{site:02d}p{{}}-ch1sk1fk1fl1.tiff" for row, column in ((1, 1), (2, 3))
             for site in (1, 2)]  # fmt: skip
    images = [np.maximum(*(trees.pixels(name.format(plane), 1080, "uint16", 4095) for plane in ("01", "02")))
              for name in names]  # fmt: skip
    np.testing.assert_array_equal(np.load(found[0].path), function_of(images, 0.05))


def test_a_zarr_layout_of_any_names_does_not_take_the_functions_for_a_plate(trees, tmp_path):
    experiment = trees.ome_zarr(tmp_path, side=32)
    folder = tmp_path / experiment
    (folder / "P001.ome.zarr").rename(folder / "P001")
    (folder / "experiment.yaml").write_text(json.dumps({"layout": "ome-zarr", "images": {"zarr": "{plate}"}}))
    write(tmp_path, experiment)
    assert write(tmp_path, experiment)[0][0].outcome == "kept"
    assert check_experiment(UPath(tmp_path), experiment, policy=IngestPolicy()).findings.is_empty()


def test_functions_that_exist_are_kept_unless_they_are_to_be_replaced(zone):
    folder = zone.land(plates=(1,))
    (folder / "illumination").mkdir()
    (folder / "illumination/Plate1_2.npy").write_bytes(b"mine")
    found, _ = write(zone.root)
    assert [function.outcome for function in found] == ["written", "kept", "written"]
    assert (folder / "illumination/Plate1_2.npy").read_bytes() == b"mine"
    found, _ = write(zone.root, is_replacing=True)
    assert [function.outcome for function in found] == ["written"] * 3
    assert np.load(folder / "illumination/Plate1_2.npy").min() == 1


def test_the_same_images_give_the_same_bytes_and_a_limit_is_kept(zone):
    folder = zone.land(plates=(1,), wells=[f"A{number:02d}" for number in range(1, 13)])
    contents = []
    for _ in range(2):
        found, _ = write(zone.root, n_images=10, is_replacing=True)
        assert {function.n_images for function in found} == {10}
        contents.append((folder / "illumination/Plate1_1.npy").read_bytes())
    assert contents[0] == contents[1]


def test_a_sample_is_spread_over_wells_and_over_the_sites_of_a_well():
    wells, sites = np.divmod(sample(384 * 9, 384, seed=0), 9)
    assert wells.tolist() == list(range(384))
    assert np.bincount(sites).min() > 20
    assert sample(5, 7, seed=0) == [0, 1, 2, 3, 4]
    assert len(set(sample(7, 5, seed=0))) == 5


def test_a_dead_channel_is_refused_by_name_and_the_others_are_written(zone):
    folder = zone.land()
    for path in (folder / "Plate2").glob("*_w3.png"):
        path.write_bytes(imagecodecs.png_encode(np.zeros(zone.size, np.uint8)))
    found, skipped = write(zone.root)
    (refused,) = (function for function in found if function.outcome == "refused")
    assert (refused.plate_id, refused.channel_name) == ("Plate2", "Phalloidin")
    assert "none of its images can be used" in refused.reason
    assert len(skipped) == 6
    assert "A01_s1_w3.png: all its pixels are equal" in skipped[0]
    assert not (folder / "illumination/Plate2_3.npy").exists()
    assert len(list((folder / "illumination").iterdir())) == 5


def test_damaged_and_missing_images_are_skipped_by_name(zone):
    folder = zone.land(plates=(1,))
    (folder / IMAGE).write_bytes((folder / IMAGE).read_bytes()[:-40])
    (folder / "Plate1/A01_s1_w1.png").unlink()
    (folder / "Plate1/A01_s1_w03.png").write_bytes((folder / "Plate1/C03_s1_w3.png").read_bytes())
    found, skipped = write(zone.root)
    assert [function.n_images for function in found] == [5, 5, 5]
    assert any("several files for one image" in reason and "A01_s1_w03.png" in reason for reason in skipped)
    assert any(IMAGE in reason for reason in skipped)
    assert len(skipped) == 2


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.eye(8, dtype=np.uint8), "B02_s1_w2.png: 8 x 8 pixels of uint8; Plate1/A01_s1_w1.png .* 16 x 24 of uint8"),
        (np.ones((16, 24), np.uint16), "B02_s1_w2.png: 16 x 24 pixels of uint16"),
    ],
)
def test_images_of_another_form_are_refused_by_name_and_no_function_is_written(zone, image, words):
    folder = zone.land(plates=(1,))
    (folder / IMAGE).write_bytes(imagecodecs.png_encode(image))
    with pytest.raises(ImageError, match=words):
        write(zone.root)
    assert not (folder / "illumination").exists()


def test_one_file_for_two_functions_is_refused(zone):
    folder = zone.land()
    configure(folder, illumination_path="illumination/{channel}.npy")
    with pytest.raises(LayoutError, match=r"1\.npy: 2 illumination functions would be this file.*\{plate\}"):
        write(zone.root)
    assert not (folder / "illumination").exists()


@pytest.mark.parametrize("path", ["../{plate}_{channel}.npy", "/outside/{plate}_{channel}.npy"])
def test_a_path_out_of_the_folder_is_refused(zone, path):
    configure(zone.land(), illumination_path=path)
    with pytest.raises(PartitionKeyError, match="leaves"):
        write(zone.root)


def test_links_never_lead_out_of_the_folder(zone, tmp_path):
    folder, outside = zone.land(plates=(1,)), tmp_path / "outside"
    outside.mkdir()
    (folder / "illumination").symlink_to(outside)
    with pytest.raises(LayoutError, match="a symbolic link leads out of"):
        write(zone.root, is_replacing=True)
    (folder / "illumination").unlink()
    (folder / "illumination").mkdir()
    (folder / "illumination/Plate1_1.npy").symlink_to(outside / "nowhere.npy")
    assert [function.outcome for function in write(zone.root)[0]] == ["kept", "written", "written"]
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(("batches", "said"), [((), "0 folders fit"), (("a", "b"), "2 folders fit")])
def test_a_star_must_mean_one_folder(zone, batches, said):
    folder = zone.land()
    for batch in batches:
        (folder / "images" / batch).mkdir(parents=True)
    configure(folder, illumination_path="images/*/{plate}_{channel}.npy")
    with pytest.raises(LayoutError, match=rf"{said} images/\*; expected one"):
        write(zone.root)


def test_images_without_a_plate_of_the_metadata_give_no_function(zone):
    folder = zone.land(plates=(1, 2))
    zone.write_metadata(folder, [row for row in zone.read_metadata(folder) if row["plate"] == "2"])
    assert {function.plate_id for function in write(zone.root)[0]} == {"Plate2"}


def test_a_layout_in_python_without_paths_is_named(zone, monkeypatch):
    folder = zone.land()
    screen = choose_layout(UPath(zone.root), "E-1").read(UPath(zone.root), "E-1")
    other = dataclasses.replace(screen, layout_name="own", illumination=())
    monkeypatch.setattr(DeclaredLayout, "read", lambda *_: other)
    with pytest.raises(LayoutError, match="the layout own has no paths for illumination functions"):
        write(zone.root)
    assert not (folder / "illumination").exists()
