"""Measures react to the faults that they measure; flags find planted faults and do not flag biology."""

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from cellassets.quality.composite import channel_limits, composite
from cellassets.quality.grey_scale import EIGHT_BITS
from cellassets.quality.measures import flag_sites, illumination_cv, measure_site, power_slope
from cellassets.quality.nuclei import find_nuclei, segment_nuclei
from cellassets.quality.parameters import QualityParameters

SIDE = 160
PARAMETERS = QualityParameters()


def discs(n, rng, *, radius=7, level=150.0, noise=3.0):
    """Returns an image of `n` discs on a jittered grid, on a dark noisy background."""
    y, x = np.mgrid[:SIDE, :SIDE]
    image = np.full((SIDE, SIDE), 12.0)
    places = [(r, c) for r in range(20, SIDE - 10, 26) for c in range(20, SIDE - 10, 26)]
    for row, column in places[:n]:
        from_row, from_column = y - row - rng.uniform(-4, 4), x - column - rng.uniform(-4, 4)
        image += level * gaussian_filter((from_row**2 + from_column**2 < radius**2).astype(float), 1.0)
    return image + rng.normal(0, noise, image.shape)


def as_uint8(image):
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("n", [1, 5, 12, 25])
def test_as_many_nuclei_are_counted_as_were_drawn(n):
    assert len(find_nuclei(as_uint8(discs(n, np.random.default_rng(n))), 14.0).centres) == n


@pytest.mark.parametrize("noise", [0.0, 2.0, 8.0])
def test_an_empty_field_has_no_nuclei(noise):
    image = as_uint8(discs(0, np.random.default_rng(0), noise=noise))
    assert len(find_nuclei(image, 14.0).centres) == 0


def test_every_disc_is_covered_by_one_segment():
    image = discs(16, np.random.default_rng(5), radius=8)
    labels = segment_nuclei(as_uint8(image), 14.0)
    areas = np.bincount(labels.ravel())[1:]
    assert len(areas) == 16
    np.testing.assert_allclose(areas, np.pi * 8**2, rtol=0.25)


def test_blur_lowers_focus_steadily():
    image = discs(20, np.random.default_rng(1))
    slopes = [power_slope(as_uint8(gaussian_filter(image, sigma))) for sigma in (0, 0.7, 1.5, 3)]
    assert slopes == sorted(slopes, reverse=True)
    assert slopes[0] - slopes[-1] > 2


def test_the_slope_of_a_power_law_is_its_exponent():
    rng = np.random.default_rng(2)
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.normal(size=(256, 256))) * frequency**-1.25
    image = np.fft.ifft2(spectrum).real
    image = (image - image.mean()) / image.std() * 3000 + 32768
    assert power_slope(image.astype(np.uint16)) == pytest.approx(-2.5, abs=0.15)


def test_an_image_without_contrast_has_the_lowest_focus():
    assert power_slope(np.full((64, 64), 7, np.uint8)) == -10


def test_vignetting_raises_uneven_illumination():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    flat = 60 + rng.normal(0, 2, (SIDE, SIDE))
    assert illumination_cv(as_uint8(flat * (1 - 0.4 * (x**2 + y**2)))) > 5 * illumination_cv(as_uint8(flat))


def test_saturation_is_that_of_the_worst_channel():
    images = np.full((3, 64, 64), 20, np.uint8)
    images[1, :16] = 255
    assert measure_site(
        images, nucleus_channel=0, nucleus_diameter_px=14.0, scale=EIGHT_BITS
    ).saturation_frac == pytest.approx(0.25)


def plate(rng, n_sites=120):
    """Returns the measures of an ordinary plate; cell numbers vary as in biology."""
    return pl.DataFrame(
        {
            "plate_id": ["Plate1"] * n_sites,
            "focus": rng.normal(-3.4, 0.15, n_sites),
            "saturation_frac": rng.gamma(2, 0.003, n_sites),
            "background": 12 * np.exp(rng.normal(0, 0.2, n_sites)),
            "illumination": rng.normal(0.35, 0.06, n_sites),
            "n_nuclei": rng.poisson(25, n_sites),
            "debris_frac": rng.exponential(0.001, n_sites),
        }
    )


def test_an_ordinary_plate_is_not_flagged():
    flagged = sum(flag_sites(plate(np.random.default_rng(seed)), PARAMETERS)["is_flagged"].sum() for seed in range(20))
    assert flagged == 0


@pytest.mark.parametrize(
    ("measure", "value", "reason"),
    [
        ("focus", -6.0, "out of focus"),
        ("saturation_frac", 0.3, "saturated"),
        ("background", 150.0, "background"),
        ("background", 0.0, "background"),
        ("illumination", 1.5, "uneven illumination"),
        ("n_nuclei", 0, "no cells"),
        ("debris_frac", 0.1, "debris"),
    ],
)
def test_a_planted_fault_is_flagged_with_its_reason_and_alone(measure, value, reason):
    measures = plate(np.random.default_rng(1)).with_row_index()
    measures = measures.with_columns(
        pl.when(pl.col("index") == 17).then(value).otherwise(measure).cast(measures.schema[measure]).alias(measure)
    )
    flagged = flag_sites(measures, PARAMETERS).filter("is_flagged")
    assert flagged.select("index", "flag_reason").rows() == [(17, reason)]


def test_a_site_is_compared_with_its_own_plate():
    blurrier = plate(np.random.default_rng(2)).with_columns(pl.lit("Plate2").alias("plate_id"), pl.col("focus") - 1.5)
    both = pl.concat([plate(np.random.default_rng(1)), blurrier])
    assert flag_sites(both, PARAMETERS)["is_flagged"].sum() == 0


def test_few_cells_are_not_flagged():
    measures = plate(np.random.default_rng(3)).with_columns(pl.lit(2).alias("n_nuclei"))
    assert flag_sites(measures, PARAMETERS)["is_flagged"].sum() == 0


def test_a_composite_shows_black_at_the_low_limit_and_each_stain_in_its_colour():
    images = np.zeros((3, 32, 32), np.uint8)
    images[0, :8], images[1, 8:16], images[2, 16:24] = 200, 200, 200
    limits = np.array([[0.0, 200.0]] * 3)
    picture = composite(images, limits)
    assert picture[30, 0].tolist() == [0, 0, 0]
    assert [int(picture[row, 0].argmax()) for row in (4, 12, 20)] == [2, 1, 0]


def test_the_same_limits_show_the_same_level_alike():
    rng = np.random.default_rng(4)
    sites = rng.integers(0, 200, (2, 6, 32, 32), dtype=np.uint8)
    limits = channel_limits(sites)
    sites[1, :, :16] = sites[0, :, :16]
    assert (composite(sites[0], limits)[:16] == composite(sites[1], limits)[:16]).all()


def test_the_smallest_scale_of_some_measures_can_be_set():
    assert QualityParameters(min_scale={"focus": 0.5}).min_scale == {**QualityParameters().min_scale, "focus": 0.5}
    for wrong, message in (({"blur": 1.0}, "unknown measure 'blur'"), ({"focus": 0.0}, "focus: expected a number")):
        with pytest.raises(ValidationError, match=message):
            QualityParameters(min_scale=wrong)
