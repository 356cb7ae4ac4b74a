"""Estimated illumination functions agree with the planted ones, and corrected images are even."""

import dataclasses
import tracemalloc

import numpy as np
import pytest

from cellassets.images.illumination_estimate import MeanImage, smoothed
from cellassets.quality.measures import illumination_cv
from cellassets.synthetic import camera
from cellassets.synthetic.biology import plant_biology
from cellassets.synthetic.cells import draw_cells
from cellassets.synthetic.morphology import well_morphology
from cellassets.synthetic.presets import demo_design
from cellassets.synthetic.screen import experiment_wells
from cellassets.synthetic.stains import Stainer
from cellassets.synthetic.textures import texture_bank

SIDE, MARGIN, DIAMETER_PX = 128, 16, 16.0
WIDTH = 0.25
DESIGN = demo_design(image_size=SIDE + 2 * MARGIN, cell_diameter_px=DIAMETER_PX)
N_SITES = 100
Y, X = np.mgrid[-1:1:200j, -1:1:300j]


@pytest.fixture(scope="module")
def wells():
    return experiment_wells(DESIGN, plant_biology(DESIGN), "HUVEC-1")[:N_SITES]


@pytest.fixture(scope="module")
def fields(wells):
    """Light of one site per well: cells are as frequent at the border as in the middle."""
    found = []
    for number, well in enumerate(wells):
        rng = np.random.default_rng(number)
        look = well_morphology(DESIGN, well.cell_type, well.perturbation.effect + well.conditions.axis_shift)
        cells = draw_cells(look, DESIGN.image_size, DIAMETER_PX, rng)
        light = Stainer(look, cells, texture_bank(DESIGN), rng).paint()
        found.append(light[:, MARGIN:-MARGIN, MARGIN:-MARGIN])
    return found


@pytest.fixture(scope="module")
def uneven(wells):
    """The conditions of one well, with a strong and off-centre illumination."""
    return dataclasses.replace(wells[0].conditions, vignette=0.3, centre_y=0.2, centre_x=-0.1)


def photographed(fields, conditions):
    rng = np.random.default_rng(1)
    return np.stack([camera.photograph(light.copy(), conditions, DIAMETER_PX, rng) for light in fields])


def estimates(images, width=WIDTH):
    means = [MeanImage(images.shape[2:]) for _ in range(images.shape[1])]
    for site in images:
        for mean, image in zip(means, site, strict=True):
            assert mean.add(image)
    return [mean.estimate(width) for mean in means]


def relative_error(function, truth):
    return (function / function.mean()) / (truth / truth.mean()) - 1


def rms(errors):
    return float(np.sqrt(np.mean(errors**2)))


@pytest.fixture(scope="module")
def images(fields, uneven):
    return photographed(fields, uneven)[:, 1::2]


@pytest.fixture(scope="module")
def found(images):
    return estimates(images)


@pytest.fixture(scope="module")
def corrected(images, found):
    functions = np.stack([estimate.function for estimate in found])
    return np.rint(images / functions).astype(np.uint8)


def test_the_planted_function_is_found(found, uneven):
    truth = camera.planted_illumination(SIDE, uneven)
    assert rms(relative_error(np.ones_like(truth), truth)) > 0.12
    errors = [relative_error(estimate.function, truth) for estimate in found]
    assert max(rms(each) for each in errors) < 0.045
    assert max(np.abs(each).max() for each in errors) < 0.2
    assert all(estimate.function.min() == 1 and estimate.function.dtype == np.float32 for estimate in found)
    assert all(estimate.unevenness_frac == pytest.approx(truth.std() / truth.mean(), abs=0.02) for estimate in found)


def test_the_reported_uncertainty_is_the_size_of_the_error(found, uneven):
    truth = camera.planted_illumination(SIDE, uneven)
    errors = np.mean([rms(relative_error(estimate.function, truth)) for estimate in found])
    assert np.mean([estimate.uncertainty_frac for estimate in found]) == pytest.approx(errors, rel=0.5)


def test_corrected_images_are_as_bright_at_their_edges_as_in_the_middle(images, corrected):
    def edge_to_middle(some):
        mean = some.mean(axis=0)
        edge = np.concatenate([mean[:, :16].reshape(3, -1), mean[:, -16:].reshape(3, -1)], axis=1)
        return edge.mean(axis=1) / mean[:, 48:80, 48:80].mean(axis=(1, 2))

    assert edge_to_middle(images).max() < 0.85
    np.testing.assert_allclose(edge_to_middle(corrected), 1, atol=0.06)


def test_the_quality_measure_of_uneven_illumination_falls(images, corrected):
    before, after = (
        np.mean([illumination_cv(image) for site in some for image in site]) for some in (images, corrected)
    )
    assert after < 0.98 * before  # of single images, where cells cover the background of most tiles
    means = [np.rint(some.mean(axis=0)).astype(np.uint16) for some in (images, corrected)]
    before, after = (np.mean([illumination_cv(image) for image in some]) for some in means)
    assert after < 0.5 * before


def test_even_light_stays_even(fields, wells, monkeypatch):
    monkeypatch.setattr(camera, "VIGNETTE", 0.0)
    even = photographed(fields[:80], dataclasses.replace(wells[0].conditions, vignette=0.0))
    for estimate in estimates(even[:, 1::2]):
        assert estimate.unevenness_frac < 0.045
        assert estimate.unevenness_frac < 1.7 * estimate.uncertainty_frac


def test_more_images_give_a_smaller_error_and_a_smaller_uncertainty(images, uneven):
    truth = camera.planted_illumination(SIDE, uneven)
    few, many = (estimates(images[:n, :1])[0] for n in (15, N_SITES))
    assert rms(relative_error(many.function, truth)) < 0.6 * rms(relative_error(few.function, truth))
    assert many.uncertainty_frac < 0.6 * few.uncertainty_frac


def test_one_bright_image_among_many_changes_little(images):
    deep = images[:, :1].astype(np.uint16) * 16
    bright = deep.copy()
    bright[7, 0, :32, :32] = 65_535
    (before,), (after,) = estimates(deep), estimates(bright)
    change = relative_error(after.function, before.function)[:32, :32].mean()
    change_of_plain_mean = (bright.mean(axis=0)[0] / deep.mean(axis=0)[0] - 1)[:32, :32].mean()
    assert change < 0.2 < 3 * change < change_of_plain_mean


def test_a_clipped_speck_leaves_no_trace(images):
    specked = images[:, :1].copy()
    specked[:, 0, 60:66, 60:66] = 255
    (before,), (after,) = estimates(images[:, :1]), estimates(specked)
    assert np.abs(relative_error(after.function, before.function)).max() < 0.03


def test_images_of_8_and_16_bits_give_the_same_function(images):
    (narrow,), (wide,) = estimates(images[:, 2:3]), estimates(images[:, 2:3].astype(np.uint16) * 257)
    np.testing.assert_allclose(narrow.function, wide.function, rtol=1e-5)


@pytest.mark.parametrize(
    "truth",
    [1 - 0.2 * (Y**2 + X**2), 1 + 0.3 * X + 0.1 * Y, 0.6 + 0.4 * np.exp(-2 * ((Y - 0.1) ** 2 + (X + 0.15) ** 2))],
    ids=["dark corners", "a ramp", "a spot"],
)
def test_shapes_of_light_come_through_filter_and_enlarging(truth):
    mean = MeanImage(truth.shape)
    mean.add(np.rint(40_000 * truth).astype(np.uint16))
    estimate = mean.estimate(WIDTH)
    assert np.abs(relative_error(estimate.function, truth)).max() < 0.02
    assert estimate.uncertainty_frac is None


@pytest.mark.parametrize("shape", [(16, 24), (128, 130), (129, 1000), (1, 300), (3, 2)])
def test_images_of_any_shape_have_a_function_of_their_shape(shape):
    rng = np.random.default_rng(3)
    mean = MeanImage(shape)
    for _ in range(4):
        mean.add(rng.integers(90, 110, shape, dtype=np.uint8))
    estimate = mean.estimate(WIDTH)
    assert estimate.function.shape == shape
    assert estimate.function.max() < 1.3


def test_a_filter_of_one_pixel_changes_nothing_and_an_outlier_is_removed_by_a_wider_one():
    ramp = np.add.outer(np.arange(12.0), np.arange(20.0)) + 1
    np.testing.assert_array_equal(smoothed(ramp, 0.01), ramp)
    spoiled = ramp.copy()
    spoiled[0, 0] = spoiled[5, 9] = 1e6
    np.testing.assert_allclose(smoothed(spoiled, 0.3)[3:, 3:], ramp[3:, 3:], atol=1)


def test_blank_images_are_not_added_and_a_channel_without_light_has_no_function():
    mean = MeanImage((64, 64))
    assert not mean.add(np.zeros((64, 64), np.uint8))
    assert not mean.add(np.full((64, 64), 7, np.uint8))
    assert mean.n_images == 0
    speck = np.zeros((64, 64), np.uint8)
    speck[3, 4] = 200
    assert mean.add(speck)
    assert mean.estimate(WIDTH) is None


def test_dark_corners_of_a_round_aperture_stay_positive():
    image = np.where(Y**2 + X**2 < 1.2, 1000, 0).astype(np.uint16)
    mean = MeanImage(image.shape)
    mean.add(image)
    function = mean.estimate(WIDTH).function
    assert function.min() == 1
    assert 4 < function[100, 150] < 6


def test_memory_does_not_grow_with_the_number_of_images():
    image = np.random.default_rng(4).integers(0, 4000, (512, 512), dtype=np.uint16)
    mean = MeanImage(image.shape)
    tracemalloc.start()
    for _ in range(3):
        mean.add(image)
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(20):
        mean.add(image)
    assert tracemalloc.get_traced_memory()[0] < before + 10_000
    assert tracemalloc.get_traced_memory()[1] < 10 * image.nbytes
    tracemalloc.stop()
