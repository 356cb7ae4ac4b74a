"""Every family of classical features equals cp_measure, on real sites and on objects that break naive code."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label

from cellassets.encoders.classical import granularity, shape, texture
from cellassets.encoders.classical.objects import Objects
from cellassets.encoders.classical.reference import REFERENCES, reference_measures
from cellassets.encoders.classical.site import _grown, measure_objects
from cellassets.quality.nuclei import segment_nuclei
from cellassets.training.recipe import ClassicalParameters

FAMILIES = sorted(REFERENCES)


def assert_equal(kinds, images, family, **settings):
    parameters = ClassicalParameters(n_channels=len(images), families=(family,), **settings)
    white = int(np.iinfo(images.dtype).max)
    ours = dict(measure_objects(kinds, images, parameters, white=white))
    theirs = reference_measures(family, kinds, images, parameters, white=white)
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        # both are noise where they should be 0; a mutual information of 1e-16 becomes 1e-8 by its square root
        atol = 1e-7 if "InfoMeas2" in name else 1e-9
        both_infinite = ~np.isfinite(expected) & ~np.isfinite(ours[name])
        np.testing.assert_allclose(
            np.where(both_infinite, 0, ours[name]),
            np.where(both_infinite, 0, expected),
            rtol=1e-9,
            atol=atol,
            err_msg=name,
        )


def kinds_of(labels, growth_px=3):
    labels = labels.astype(np.int32)
    return {"Nuclei": Objects(labels), "Cells": Objects(_grown(labels, growth_px))}


def noise(shape, seed=0, n_channels=2, blur=1.0):
    rng = np.random.default_rng(seed)
    images = gaussian_filter(rng.normal(size=(n_channels, *shape)), (0, blur, blur))
    return np.clip(110 + 70 * images / images.std(), 0, 255).astype(np.uint8)


def odd_shapes():
    """A ring, a cross, an L, a line, two diagonal pixels, single pixels, a corner, a border strip, touching blocks."""
    labels = np.zeros((61, 53), dtype=np.int32)
    y, x = np.mgrid[:61, :53]
    distance = np.hypot(y - 14, x - 14)
    labels[(distance < 9) & (distance > 4)] = 1
    labels[14, 14] = 2
    labels[30:39, 9:11] = labels[33:35, 5:16] = 3
    labels[25:32, 30:32] = labels[31:33, 30:40] = 4
    labels[45, 3:24] = 5
    labels[50, 30] = labels[51, 31] = 6
    labels[0, 52] = 7
    labels[55:, :6] = 8
    labels[:3, 25:50] = 9
    labels[40:48, 40:46], labels[40:48, 46:53] = 10, 11
    return labels


@pytest.mark.parametrize("family", FAMILIES)
def test_simulated_sites_have_the_features_of_cp_measure(store, family):
    for images in store.read([0, 7]):
        nuclei = segment_nuclei(images[0], store.height / 12)
        assert nuclei.max() > 1
        assert_equal(kinds_of(nuclei, growth_px=12), images, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_odd_shapes_have_the_features_of_cp_measure(family):
    labels = odd_shapes()
    assert_equal(kinds_of(labels), noise(labels.shape), family)
    bare = {"Nuclei": Objects(labels), "Cells": Objects(labels)}
    assert_equal(bare, noise(labels.shape, seed=1), family)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("level", [0, 9, 255])
def test_constant_images_have_the_features_of_cp_measure(family, level):
    labels = odd_shapes()
    assert_equal(kinds_of(labels), np.full((2, *labels.shape), level, np.uint8), family)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(96, 96), (37, 50), (63, 64), (9, 40), (5, 5)])
def test_a_site_that_is_one_object_has_the_features_of_cp_measure(family, shape):
    whole = np.ones(shape, dtype=np.int32)
    assert_equal({"Nuclei": Objects(whole), "Cells": Objects(whole)}, noise(shape), family)


@pytest.mark.parametrize("seed", range(3))
def test_random_blobs_have_the_shapes_of_cp_measure(seed):
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=(80, 90)), 1.2)
    labels, _ = label(field > 0.3 * field.std(), structure=np.ones((3, 3)))
    assert_equal({"Nuclei": Objects(labels.astype(np.int32))}, noise(labels.shape), "sizeshape")


@pytest.mark.parametrize("levels", [4, 32, 256])
@pytest.mark.parametrize("scale", [1, 3, 70])
def test_textures_agree_at_every_scale_and_number_of_levels(levels, scale):
    labels = odd_shapes()
    settings = {"texture_grey_levels": levels, "texture_scale_px": scale}
    assert_equal(kinds_of(labels), noise(labels.shape), "texture", **settings)


def test_work_in_small_portions_gives_the_same_values(monkeypatch):
    labels = odd_shapes()
    kinds, images = kinds_of(labels), noise(labels.shape)
    parameters = ClassicalParameters(n_channels=2, families=("texture", "sizeshape", "granularity"))
    whole = dict(measure_objects(kinds, images, parameters, white=255))
    monkeypatch.setattr(texture, "MAX_CELLS", 1)
    monkeypatch.setattr(shape, "MAX_PIXELS", 1)
    monkeypatch.setattr(granularity, "MAX_DILATIONS", 0)
    in_portions = dict(measure_objects(kinds, images, parameters, white=255))
    for name, values in whole.items():
        np.testing.assert_allclose(in_portions[name], values, rtol=1e-12, atol=1e-14, err_msg=name)
