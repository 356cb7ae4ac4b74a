"""Encoders on their own: precision, kinds, and classical features that react to what they are named for."""

import json
import os

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cellassets.encoders.classical import Acquisition, feature_names
from cellassets.encoders.classical.site import measure_site
from cellassets.encoders.inference.choice import min_centred_cosine
from cellassets.encoders.loading import Encoder, load_encoder
from cellassets.encoders.network import NetworkEncoder
from cellassets.errors import EncoderError, RegistryError
from cellassets.training.recipe import ClassicalParameters

PARAMETERS = ClassicalParameters(n_channels=2)
ACQUISITION = Acquisition(nucleus_channel=0, nucleus_diameter_px=14.0)


@pytest.fixture
def encoder(models) -> NetworkEncoder:
    return NetworkEncoder(models["random.v1"])


def batch(n_sites=6, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 255, (n_sites, 6, 64, 64), dtype=np.uint8)
    pixels = images.reshape(n_sites, 6, -1)
    return images, pixels.mean(axis=2).astype(np.float32), pixels.std(axis=2).astype(np.float32)


def test_both_kinds_are_encoders(models):
    for key in ("random.v1", "classical.v1"):
        encoder = load_encoder(models[key])
        assert isinstance(encoder, Encoder)
        encoder.close()


def test_a_brighter_plate_makes_no_difference_after_normalisation(encoder):
    images, mean, std = batch()
    dimmed = (images // 2).astype(np.uint8)
    halved = dimmed.reshape(6, 6, -1)
    plain = encoder.embed(images, mean, std)
    dim = encoder.embed(dimmed, halved.mean(axis=2).astype(np.float32), halved.std(axis=2).astype(np.float32))
    assert min_centred_cosine(plain, dim) > 0.99


def test_centred_cosine_sees_what_a_plain_one_does_not():
    rng = np.random.default_rng(0)
    a = (100 + rng.normal(size=(20, 8))).astype(np.float32)
    b = (100 + rng.normal(size=(20, 8))).astype(np.float32)
    plain = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    assert plain.min() > 0.99
    assert min_centred_cosine(a, b) < 0.5
    assert min_centred_cosine(a, a) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("written", "error", "words"),
    [
        ({"kind": "oracle"}, EncoderError, "kind 'oracle'; known are"),
        ({"kind": "classical"}, RegistryError, "not the encoder.json of a classical encoder"),
        ({"kind": "network"}, RegistryError, "not the encoder.json of a network"),
    ],
)
def test_a_model_folder_that_says_something_else_is_refused(tmp_path, written, error, words):
    (tmp_path / "encoder.json").write_text(json.dumps(written))
    with pytest.raises(error, match=words):
        load_encoder(tmp_path)


def test_a_pickle_in_place_of_weights_is_refused_and_never_opened(tmp_path, save_network):
    import pickle

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was_run"),)

    for name in ("weights.safetensors", "pytorch_model.bin"):
        folder = save_network(tmp_path / name.partition(".")[0])
        (folder / name).write_bytes(pickle.dumps(Bomb()))
        if name == "weights.safetensors":
            with pytest.raises(RegistryError, match="the weights do not fit"):
                load_encoder(folder)
        else:
            load_encoder(folder).close()  # a file that nobody names is not read
    assert not (tmp_path / "was_run").exists()


def test_weights_that_claim_more_bytes_than_there_are_are_refused(tmp_path, save_network):
    folder = save_network(tmp_path)
    path = folder / "weights.safetensors"
    path.write_bytes((1 << 60).to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(RegistryError, match="the weights do not fit"):
        load_encoder(folder)


def site(*, radius=7.0, blur=0.0, gain=1.0, n_nuclei=9, seed=0):
    """Two channels: nuclei as discs, and grain everywhere."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:128, :128]
    nuclei = np.full((128, 128), 8.0)
    for number in range(n_nuclei):
        row, column = 24 + 40 * (number // 3), 24 + 40 * (number % 3)
        nuclei += 150.0 * ((y - row) ** 2 + (x - column) ** 2 < radius**2)
    nuclei = gaussian_filter(nuclei, 1.0) + rng.normal(0, 2, nuclei.shape)
    grain = gaussian_filter(rng.normal(0, 60, (128, 128)), blur) if blur else rng.normal(0, 60, (128, 128))
    grain = 100 + (grain - grain.mean()) / grain.std() * 25
    return np.clip(np.stack([nuclei, grain * gain]), 0, 255).astype(np.uint8)


def test_the_count_is_the_count():
    assert measure_site(site(n_nuclei=6), PARAMETERS, ACQUISITION)["Nuclei_Count"] == 6


def test_larger_nuclei_have_a_larger_area():
    areas = [
        measure_site(site(radius=r), PARAMETERS, ACQUISITION)["Median_Nuclei_AreaShape_Area"] for r in (5.0, 7.0, 9.0)
    ]
    assert areas == sorted(areas)
    assert areas[2] / areas[0] == pytest.approx((9 / 5) ** 2, rel=0.3)


def test_a_brighter_stain_has_a_higher_intensity_in_its_channel_alone():
    plain, bright = (measure_site(site(gain=gain), PARAMETERS, ACQUISITION) for gain in (1.0, 1.5))
    ratio = {
        c: bright[f"Median_Cells_Intensity_MeanIntensity_C{c}"] / plain[f"Median_Cells_Intensity_MeanIntensity_C{c}"]
        for c in (1, 2)
    }
    assert ratio[2] == pytest.approx(1.5, rel=0.1)
    assert ratio[1] == pytest.approx(1.0, rel=0.05)


def test_blur_smoothes_texture_and_coarsens_granularity():
    sharp, blurred = (measure_site(site(blur=blur), PARAMETERS, ACQUISITION) for blur in (0.0, 4.0))
    assert blurred["Median_Cells_Texture_Contrast_C2"] < 0.5 * sharp["Median_Cells_Texture_Contrast_C2"]
    assert blurred["Median_Image_Granularity_1_C2"] < sharp["Median_Image_Granularity_1_C2"]


@pytest.mark.parametrize(
    "images", [np.zeros((2, 96, 96), np.uint8), np.full((2, 96, 96), 255, np.uint8), site(n_nuclei=0)]
)
def test_a_site_without_cells_has_the_same_finite_features(images):
    features = measure_site(images, PARAMETERS, ACQUISITION)
    assert list(features) == feature_names(PARAMETERS)
    assert features["Nuclei_Count"] == 0
    assert np.isfinite(list(features.values())).all()


def test_names_say_family_channel_and_object_and_leave_places_out():
    names = feature_names(ClassicalParameters(n_channels=2))
    assert len(set(names)) == len(names)
    assert not [name for name in names if "Center" in name or "Location" in name]
    assert {name.split("_")[1] for name in names if "_" in name[5:]} >= {"Nuclei", "Cells", "Image"}
