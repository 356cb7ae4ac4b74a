"""Pictures of the same site look the same on scales of 8, 12 and 16 bits."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from cellassets.quality.composite import channel_limits, composite
from cellassets.reporting.examples import Example, SiteImage, encoded_pictures


@pytest.mark.parametrize("scale", ["12 bit", "16 bit"])
def test_a_composite_does_not_depend_on_the_scale(scaled_store, scale):
    pictures = []
    for name in ("8 bit", scale):
        images = scaled_store("HUVEC-1", name).read(range(4))
        pictures.append(np.stack([composite(site, channel_limits(images)) for site in images]).astype(int))
    assert pictures[0].max() > 128
    assert np.abs(pictures[0] - pictures[1]).max() <= 1, "rounding alone"


def test_pictures_of_a_report_do_not_depend_on_the_scale(scaled_store):
    decoded = []
    for name in ("8 bit", "16 bit"):
        treated, control = (SiteImage(site, "") for site in scaled_store("HUVEC-1", name).read([0, 5]))
        urls = encoded_pictures(Example("gene", 1.0, treated, control))
        decoded.append([np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))) for url in urls])
    difference = np.abs(np.array(decoded[0], dtype=int) - np.array(decoded[1], dtype=int))
    assert np.array(decoded[0]).max() > 128
    assert difference.mean() < 1
