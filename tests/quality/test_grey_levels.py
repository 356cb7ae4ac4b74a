"""Cameras of 8 to 16 bits: the same plate gives the same quality on each, and saturation is where the camera ends."""

import numpy as np
import pytest

from cellassets.encoders.classical.site import MEASURES, Acquisition, measure_site
from cellassets.quality.grey_scale import GreyScale
from cellassets.quality.inspect import inspect_store
from cellassets.quality.measures import percentile
from cellassets.quality.parameters import QualityParameters
from cellassets.training.recipe import ClassicalParameters

FAMILIES = sorted(MEASURES)
PARAMETERS = QualityParameters(max_robust_z=3.0)  # so that some sites are flagged


@pytest.fixture(scope="module")
def eight(stored):
    return stored(lambda image: image)


@pytest.fixture(scope="module")
def sixteen(stored):
    return stored(lambda image: image.astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("dtype", "top", "expected"),
    [
        ("uint8", None, (255, 255)),
        ("uint8", 180, (180, 255)),
        ("uint16", None, (65535, 65535)),
        ("uint16", 200, (200, 255)),
        ("uint16", 1023, (1023, 1023)),
        ("uint16", 3200, (3200, 4095)),
        ("uint16", 4095, (4095, 4095)),
        ("uint16", 4096, (4096, 16383)),
        ("uint16", 20000, (20000, 65535)),
        ("uint8", 4095, (255, 255)),
    ],
)
def test_the_scale_ends_at_the_next_depth_of_a_camera(dtype, top, expected):
    scale = GreyScale.of(dtype, top)
    assert (scale.top, scale.white) == expected


@pytest.mark.parametrize("percent", [0.0, 5.0, 20.0, 37.3, 100.0])
@pytest.mark.parametrize(("dtype", "size"), [("uint8", 1001), ("uint16", 730), ("uint16", 1)])
def test_percentiles_are_those_of_numpy(dtype, size, percent):
    values = np.random.default_rng(3).integers(0, np.iinfo(dtype).max, size, dtype=dtype)
    assert percentile(values, percent) == pytest.approx(np.percentile(values, percent), rel=1e-12)


def test_images_of_16_bits_have_the_quality_of_the_same_images_of_8_bits(eight, sixteen):
    ours, theirs = (inspect_store(store, PARAMETERS) for store in (sixteen, eight))
    assert theirs.summary.n_flagged > 3
    assert ours.summary == theirs.summary
    for name in ("n_nuclei", "is_flagged", "flag_reason", "debris_frac", "saturation_frac"):
        assert ours.quality[name].equals(theirs.quality[name]), name
    np.testing.assert_allclose(ours.quality["background"], 257 * theirs.quality["background"], rtol=1e-6)
    for name in ("focus", "illumination"):
        np.testing.assert_allclose(ours.quality[name], theirs.quality[name], rtol=1e-6)


def test_a_camera_of_12_bits_gives_the_same_flags(eight, stored):
    twelve = stored(lambda image: image.astype(np.uint16) * 16)
    assert twelve.imaging.top_grey_level == 4080
    ours, theirs = (inspect_store(store, PARAMETERS).quality for store in (twelve, eight))
    for name in ("n_nuclei", "is_flagged", "flag_reason", "saturation_frac"):
        assert ours[name].equals(theirs[name]), name


def test_an_overexposed_plate_of_12_bits_is_flagged_everywhere_and_an_honest_one_is_not(stored):
    def exposed(gain):
        def change(image):
            noise = np.random.default_rng(int(image.sum())).integers(0, 16, image.shape)
            return np.minimum(gain * (8 * image.astype(np.uint16) + noise), 4095).astype(np.uint16)

        return change

    over = inspect_store(stored(exposed(12)), QualityParameters())
    assert over.quality["flag_reason"].str.contains("saturated").all()
    honest = inspect_store(stored(exposed(1)), QualityParameters())
    assert honest.quality["saturation_frac"].max() < 0.01
    assert "saturated" not in honest.summary.flag_reasons


@pytest.mark.parametrize("family", FAMILIES)
def test_classical_features_of_16_bits_are_those_of_8_bits(eight, sixteen, family):
    parameters = ClassicalParameters(families=(family,))
    for place in (0, 11, 25):
        features = [
            measure_site(
                store.read([place])[0],
                parameters,
                Acquisition(0, 11.0, GreyScale.of(store.dtype, store.imaging.top_grey_level)),
            )
            for store in (eight, sixteen)
        ]
        assert features[0]["Nuclei_Count"] > 2
        np.testing.assert_allclose(list(features[1].values()), list(features[0].values()), rtol=1e-9, atol=1e-9)


def test_classical_intensities_of_12_bits_differ_by_the_scale_alone(eight):
    images = eight.read([3])[0]
    parameters = ClassicalParameters(families=("intensity", "granularity", "radial_distribution", "sizeshape"))
    plain = measure_site(images, parameters, Acquisition(0, 11.0))
    twelve = measure_site(images.astype(np.uint16) * 16, parameters, Acquisition(0, 11.0, GreyScale(4080, 4095)))
    for name, value in plain.items():
        is_level = "_Intensity_" in name and "MassDisplacement" not in name
        assert twelve[name] == pytest.approx(value * (4080 / 4095 if is_level else 1), rel=1e-6, abs=1e-9), name
