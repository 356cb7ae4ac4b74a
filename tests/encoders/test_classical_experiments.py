"""Classical features follow the experiment: its DNA channel, the size of its nuclei, its scale of grey levels."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cellassets.encoders.classical import Acquisition, ClassicalEncoder
from cellassets.encoders.classical.encoder import site_vector
from cellassets.errors import ConfigError, EncoderError
from cellassets.quality.nucleus_size import nucleus_size
from cellassets.screens.imaging import Imaging
from cellassets.training.classical import set_up_classical
from cellassets.training.recipe import ClassicalParameters, ClassicalRecipe

FAMILIES = ("intensity", "sizeshape")


def encoder_of(**settings):
    return ClassicalEncoder(ClassicalParameters(families=FAMILIES, **settings), n_processes=1)


def vectors(encoder, images):
    nothing = np.zeros(images.shape[:2], np.float32)
    return encoder.embed(images, nothing, nothing)


def test_channel_and_diameter_are_those_of_the_experiment(store):
    encoder = encoder_of()
    encoder.set_up(store)
    size = nucleus_size(store, 0, diameter_um=None, diameter_px=None)
    assert encoder.acquisition == Acquisition(0, size.diameter_px)
    images = store.read([0, 5])
    expected = [site_vector(site, encoder.parameters, encoder.acquisition) for site in images]
    np.testing.assert_array_equal(vectors(encoder, images), expected)


def test_the_dna_channel_is_found_by_its_name_in_each_experiment(store):
    encoder = encoder_of()
    encoder.set_up(store)
    plain = vectors(encoder, store.read([3]))
    turned = replace(store, imaging=Imaging(channel_names=(*store.channel_names[1:], "DNA")))
    encoder.set_up(turned)
    assert encoder.acquisition.nucleus_channel == 5
    assert vectors(encoder, np.roll(store.read([3]), -1, axis=1))[0, 0] != vectors(encoder, store.read([3]))[0, 0]
    # the count of nuclei is the first feature: the same image gives it wherever its channel is
    encoder.acquisition = replace(
        encoder.acquisition, nucleus_diameter_px=nucleus_size(store, 0, diameter_um=None, diameter_px=None).diameter_px
    )
    assert vectors(encoder, np.roll(store.read([3]), -1, axis=1))[0, 0] == plain[0, 0]


def test_an_experiment_without_a_dna_channel_is_refused_with_what_to_do(store):
    nameless = replace(store, imaging=Imaging(channel_names=tuple("abcdef")))
    with pytest.raises(ConfigError, match=r"HUVEC-1: none of its channels a, b, .*nucleus_channel of the parameters"):
        encoder_of().set_up(nameless)
    encoder = encoder_of(nucleus_channel=2, nucleus_diameter_px=9.0)
    encoder.set_up(nameless)
    assert encoder.acquisition == Acquisition(2, 9.0)


def test_a_given_diameter_counts_in_downsampled_pixels_and_micrometres_in_those_of_the_image(store):
    encoder = encoder_of(nucleus_diameter_px=7.0, image_downsample=2)
    encoder.set_up(store)
    assert encoder.acquisition.nucleus_diameter_px == 7.0
    scaled = replace(store, imaging=store.imaging.model_copy(update={"pixel_size_um": 0.5}))
    encoder = encoder_of(nucleus_diameter_um=6.0, nucleus_diameter_px=7.0, image_downsample=2)
    encoder.set_up(scaled)
    assert encoder.acquisition.nucleus_diameter_px == pytest.approx(6.0)


def test_sites_of_an_unknown_experiment_are_refused(store):
    with pytest.raises(EncoderError, match=r"call set_up\(store\) before"):
        vectors(encoder_of(), store.read([0]))


def test_models_of_the_first_format_keep_the_twelfth_of_the_image(tmp_path, store):
    recipe = ClassicalRecipe(name="classical", parameters=ClassicalParameters(families=FAMILIES, nucleus_channel=0))
    folder = set_up_classical(recipe, tmp_path).folder
    described = json.loads((folder / "encoder.json").read_text())
    assert described["format_version"] == 2
    old = described | {"format_version": 1}
    old["parameters"] = {name: value for name, value in old["parameters"].items() if name != "nucleus_diameter_um"}
    for now, expected in (
        (described, nucleus_size(store, 0, diameter_um=None, diameter_px=None).diameter_px),
        (old, 64 / 12),
    ):
        (folder / "encoder.json").write_text(json.dumps(now))
        encoder = ClassicalEncoder.load(folder)
        encoder.set_up(store)
        assert encoder.acquisition.nucleus_diameter_px == pytest.approx(expected)
