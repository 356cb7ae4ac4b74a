"""Images are divided by their illumination function where an experiment asks for it, and by nothing else."""

import json

import google_crc32c
import numpy as np
import pytest
from upath import UPath

from cellassets.errors import ConfigError, ImageError
from cellassets.images.comparison import differing_sites
from cellassets.images.illumination import correction_of
from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.screens.imaging import Imaging
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy

ONE_CHANNEL = Imaging(channel_names=("DNA",), illumination=("{plate}_Illum1.npy",))


@pytest.fixture
def uneven(zone):
    """An experiment with functions for its three channels, which says that they are to be applied."""
    folder = zone.land(plates=(1,))
    rng = np.random.default_rng(5)
    for channel in (1, 2, 3):
        np.save(folder / f"Plate1_Illum{channel}.npy", rng.uniform(1, 3, zone.size))
    shared = json.loads((zone.root / "experiment.yaml").read_text())
    extra = {"illumination_path": "{plate}_Illum{channel}.npy"}
    (folder / "experiment.yaml").write_text(json.dumps({**shared, **extra, "correct_illumination": True}))
    return folder


def packed(folder, target):
    manifest = check_experiment(UPath(folder.parent), folder.name, policy=IngestPolicy(on_bad_site="refuse"))
    files = pack_plates(manifest.images, manifest.wells, Packing(UPath(folder), UPath(target), manifest.imaging)).files
    return manifest, ExperimentStore.open(UPath(target), files, folder.name)


def test_images_are_divided_and_rounded(zone, uneven, tmp_path):
    manifest, store = packed(uneven, tmp_path / "store")
    raw = zone.pixels(uneven, "Plate1/A01_s1_w2.png")
    expected = np.rint(raw / np.load(uneven / "Plate1_Illum2.npy").astype(np.float32)).astype(np.uint8)
    np.testing.assert_array_equal(store.read([0])[0, 1], expected)
    assert store.imaging.illumination == tuple(f"{{plate}}_Illum{channel}.npy" for channel in (1, 2, 3))
    assert differing_sites(store, manifest.images, UPath(uneven), n_sites=10, seed=0) == []


def test_without_the_word_images_stay_as_they_are(zone, uneven, tmp_path):
    path = uneven / "experiment.yaml"
    path.write_text(json.dumps({**json.loads(path.read_text()), "correct_illumination": False}))
    _, store = packed(uneven, tmp_path / "store")
    np.testing.assert_array_equal(store.read([0])[0, 1], zone.pixels(uneven, "Plate1/A01_s1_w2.png"))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (None, "no such illumination function"),
        (b"not numpy", "not a NumPy array"),
        (np.zeros((16, 24)), "positive numbers"),
        (np.ones((8, 8)), r"illumination function of \(8, 8\) pixels for images of \(16, 24\)"),
    ],
)
def test_a_wrong_function_is_refused_by_name(tmp_path, function, words):
    path = tmp_path / "P_Illum1.npy"
    if isinstance(function, bytes):
        path.write_bytes(function)
    elif function is not None:
        np.save(path, function)
    with pytest.raises(ImageError, match=words):
        correction_of(UPath(tmp_path), "P", ONE_CHANNEL)(0, np.ones((16, 24), np.uint8))


def test_a_pickle_is_never_loaded(tmp_path):
    np.save(tmp_path / "P_Illum1.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ImageError, match="not a NumPy array"):
        correction_of(UPath(tmp_path), "P", ONE_CHANNEL)


def test_functions_are_no_findings_and_their_checksums_are_in_the_manifest(zone, uneven):
    (uneven / "Plate1_Illum1.txt").touch()
    manifest = check_experiment(UPath(zone.root), "E-1", policy=IngestPolicy())
    assert manifest.findings["path"].to_list() == ["Plate1_Illum1.txt"]
    contents = [(uneven / f"Plate1_Illum{channel}.npy").read_bytes() for channel in (1, 2, 3)]
    assert manifest.imaging.illumination_crc32c == {"Plate1": tuple(map(google_crc32c.value, contents))}


def test_a_function_that_changed_since_the_check_is_refused(uneven, tmp_path):
    manifest = check_experiment(UPath(uneven.parent), "E-1", policy=IngestPolicy())
    np.save(uneven / "Plate1_Illum2.npy", np.ones((16, 24)))
    with pytest.raises(ImageError, match=r"Plate1_Illum2.npy: this illumination function changed since it was checked"):
        pack_plates(
            manifest.images, manifest.wells, Packing(UPath(uneven), UPath(tmp_path / "store"), manifest.imaging)
        )


def test_a_missing_function_is_named_by_the_check_of_the_experiment(uneven):
    (uneven / "Plate1_Illum3.npy").unlink()
    with pytest.raises(ImageError, match=r"Plate1_Illum3.npy: no such illumination function.*screen illumination"):
        check_experiment(UPath(uneven.parent), "E-1", policy=IngestPolicy())


@pytest.mark.parametrize("path", ["{plate}/{well}.npy", "{plate:P1}.npy"])
def test_a_path_with_another_field_is_refused(zone, uneven, path):
    (uneven / "experiment.yaml").write_text(json.dumps({"illumination_path": path}))
    with pytest.raises(ConfigError, match=r"illumination_path: unknown field \{"):
        check_experiment(UPath(zone.root), "E-1", policy=IngestPolicy())
