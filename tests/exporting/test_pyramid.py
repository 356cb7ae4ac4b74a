"""The pyramid halves images by the rounded mean, also 16-bit ones and those with odd sides."""

import numpy as np
import pytest
from skimage.measure import block_reduce

from cellassets.exporting.pyramid import halved, pyramid


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_halving_even_sides_is_the_rounded_block_mean(dtype):
    images = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (3, 10, 14), dtype, endpoint=True)
    expected = np.floor(block_reduce(images.astype(float), (1, 2, 2), np.mean) + 0.5)
    found = halved(images)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_highest_grey_level_does_not_overflow(dtype):
    top = np.iinfo(dtype).max
    assert (halved(np.full((1, 7, 5), top, dtype)) == top).all()


def test_blocks_at_odd_edges_are_means_of_the_pixels_that_exist():
    image = np.array([[[10, 20, 30], [30, 40, 50], [1, 2, 7]]], dtype=np.uint8)
    np.testing.assert_array_equal(halved(image), [[[25, 40], [2, 7]]])  # 25; (30+50)/2; 1.5 up to 2; 7


def test_one_column_keeps_its_width():
    np.testing.assert_array_equal(halved(np.array([[[4], [8], [5]]], dtype=np.uint16)), [[[6], [5]]])


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        ((255, 4000), [(255, 4000)]),
        ((256, 300), [(256, 300), (128, 150)]),
        ((512, 512), [(512, 512), (256, 256), (128, 128)]),
        ((1041, 777), [(1041, 777), (521, 389), (261, 195)]),
    ],
)
def test_levels_end_when_the_shorter_side_is_below_256(size, sides):
    levels = pyramid(np.zeros((1, *size), np.uint8))
    assert [level.shape[1:] for level in levels] == sides
