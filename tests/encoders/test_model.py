"""A model in a folder, given arrays of images: what it checks, and on which scale it sees them."""

import numpy as np
import pytest

import cellassets
from cellassets.errors import EncoderError

NAMES = ("C0", "C1", "C2", "C3", "C4", "C5")


@pytest.fixture
def model(save_network, tmp_path):
    return cellassets.load_model(save_network(tmp_path / "model", normalisation="site"))


@pytest.mark.parametrize("names", [NAMES[::-1], NAMES[:3], ("C0",) * 6, ("DNA", *NAMES[1:])])
def test_names_of_other_channels_are_refused(model, names):
    images = np.random.default_rng(0).integers(0, 255, (2, 6, 48, 48), dtype=np.uint8)
    assert np.array_equal(model.embed_images(images, channel_names=NAMES), model.embed_images(images))
    with pytest.raises(EncoderError, match="the model was trained on C0, C1, C2, C3, C4, C5"):
        model.embed_images(images, channel_names=names)


def test_the_scale_of_16_bits_is_that_of_the_images(model):
    images = np.random.default_rng(0).normal(300, 10, (2, 6, 48, 48)).astype(np.uint16)
    images[0, 0, 0, 0] = 4000  # a camera of 12 bits, and channels that are almost empty
    found = model.embed_images(images)
    assert np.array_equal(found, model.embed_images(images, top_grey_level=4095))
    assert not np.allclose(found, model.embed_images(images, top_grey_level=65535))
