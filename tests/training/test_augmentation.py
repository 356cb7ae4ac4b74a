from dataclasses import replace

import numpy as np
import pytest

from cellassets.errors import RecipeError
from cellassets.training.augmentation import Draws, centre_crop, crop_size, crop_turn_flip, draw, draw_mix
from cellassets.training.recipe import AugmentationParameters, Mixing

IMAGE = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(1, 2, 8, 8)


def draws(crop_px=(8, 8), top_left=(0, 0), n_turns=0, is_flipped=False) -> Draws:
    jitter = np.ones((1, 2), dtype=np.float32)
    return Draws(crop_px, np.array([top_left]), np.array([n_turns]), np.array([is_flipped]), jitter, 0 * jitter)


def test_turns_make_a_group_of_order_four():
    image = IMAGE
    for _ in range(4):
        image = crop_turn_flip(image, draws(n_turns=1))
    np.testing.assert_array_equal(image, IMAGE)
    for a in range(4):
        for b in range(4):
            twice = crop_turn_flip(crop_turn_flip(IMAGE, draws(n_turns=a)), draws(n_turns=b))
            np.testing.assert_array_equal(twice, crop_turn_flip(IMAGE, draws(n_turns=(a + b) % 4)))


def test_turns_and_flips_give_eight_different_images_of_the_same_pixels():
    seen = {crop_turn_flip(IMAGE, draws(n_turns=n, is_flipped=f)).tobytes() for n in range(4) for f in (False, True)}
    assert len(seen) == 8
    assert {bytes(sorted(image)) for image in seen} == {bytes(sorted(IMAGE.tobytes()))}


def test_all_channels_turn_together():
    turned = crop_turn_flip(IMAGE, draws(n_turns=1, is_flipped=True))
    np.testing.assert_array_equal(turned[0, 1].astype(int) - turned[0, 0], np.full((8, 8), 64))


def test_a_crop_is_the_window_that_was_drawn():
    np.testing.assert_array_equal(crop_turn_flip(IMAGE, draws(crop_px=(3, 3), top_left=(2, 4))), IMAGE[:, :, 2:5, 4:7])


def test_drawn_windows_stay_inside_and_reach_every_border():
    found = draw(np.random.default_rng(0), 2000, parameters=AugmentationParameters(crop_px=16), site_shape=(2, 18, 20))
    assert found.top_left.min(axis=0).tolist() == [0, 0]
    assert found.top_left.max(axis=0).tolist() == [2, 4]
    assert set(found.n_turns) == {0, 1, 2, 3}


def test_the_same_seed_draws_the_same_and_switched_off_means_off():
    off = AugmentationParameters(has_flips=False, has_turns=False)
    first, second = (draw(np.random.default_rng(5), 20, parameters=off, site_shape=(2, 8, 8)) for _ in range(2))
    for name in ("top_left", "n_turns", "is_flipped", "gain", "offset"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert not first.n_turns.any()
    assert not first.is_flipped.any()
    assert (first.gain == 1).all()
    assert (first.offset == 0).all()


def test_intensity_jitter_has_the_spread_that_was_asked_for():
    found = draw(
        np.random.default_rng(0),
        5000,
        parameters=AugmentationParameters(gain_jitter=0.3, offset_jitter=0.5),
        site_shape=(3, 32, 32),
    )
    assert (found.gain.min(), found.gain.max()) == (pytest.approx(0.7, abs=0.01), pytest.approx(1.3, abs=0.01))
    assert found.offset.std() == pytest.approx(0.5, rel=0.05)
    assert abs(np.corrcoef(found.gain.T)[0, 1]) < 0.05, "each channel is varied by itself"


def test_impossible_crops_are_refused():
    with pytest.raises(RecipeError, match=r"crop_px is 64, the sites are 48 x 48"):
        crop_size(AugmentationParameters(crop_px=64), 48, 48)
    with pytest.raises(RecipeError, match="cannot be turned"):
        crop_size(AugmentationParameters(), 48, 64)
    assert crop_size(AugmentationParameters(has_turns=False), 48, 64) == (48, 64)


def test_the_centre_crop_is_central_and_never_larger_than_the_image():
    np.testing.assert_array_equal(centre_crop(IMAGE, 4), IMAGE[:, :, 2:6, 2:6])
    assert centre_crop(IMAGE, 100).shape == IMAGE.shape
    np.testing.assert_array_equal(centre_crop(IMAGE, None), IMAGE)


def drawn_with(**parameters) -> Draws:
    chosen = AugmentationParameters(gain_jitter=0.1, offset_jitter=0.1, **parameters)
    return draw(np.random.default_rng(0), 500, parameters=chosen, site_shape=(4, 32, 32))


def test_newer_choices_leave_the_older_numbers_as_they_were():
    before, after = drawn_with(), drawn_with(channel_dropout_frac=0.3, mix=Mixing(kind="cutmix"))
    for name in ("top_left", "n_turns", "is_flipped", "gain", "offset"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    assert before.is_kept is None
    assert before.partner is None


def test_channels_are_left_out_as_often_as_asked_for_and_one_always_stays():
    kept = drawn_with(channel_dropout_frac=0.3).is_kept
    assert np.mean(~kept) == pytest.approx(0.3, abs=0.04)
    assert drawn_with(channel_dropout_frac=0.99).is_kept.any(axis=1).all()


def test_cutmix_shares_are_fractions_of_the_area():
    mix = Mixing(kind="cutmix", image_frac=0.6)
    partner, own = draw_mix(np.random.default_rng(0), 400, parameters=mix, size=(24, 40))
    assert own.shape == (400, 1, 24, 40)
    assert set(np.unique(own)) == {0, 1}
    assert sorted(partner) == list(range(400))
    for share in own[:, 0]:
        rows, columns = np.flatnonzero((share == 0).any(axis=1)), np.flatnonzero((share == 0).any(axis=0))
        height, width = (int(np.ptp(side)) + 1 if len(side) else 0 for side in (rows, columns))
        assert share.mean() == pytest.approx(1 - height * width / (24 * 40)), "the other image is one full rectangle"
    is_mixed = own.mean(axis=(1, 2, 3)) < 1
    assert is_mixed.mean() == pytest.approx(0.6, abs=0.08), "three standard errors"


def test_mixup_shares_are_spread_as_their_distribution():
    _, own = draw_mix(np.random.default_rng(0), 4000, parameters=Mixing(kind="mixup", image_frac=1), size=(8, 8))
    assert own.shape == (4000, 1, 1, 1)
    assert own.mean() == pytest.approx(0.5, abs=0.02)
    assert own.std() == pytest.approx(1 / np.sqrt(12), abs=0.01), "Beta(1, 1) is uniform"


def test_a_zoomed_crop_repeats_the_pixels_of_its_window():
    drawn = replace(draws(crop_px=(8, 8), top_left=(2, 4)), window_px=np.array([[4, 4]]))
    expected = IMAGE[:, :, 2:6, 4:8].repeat(2, axis=2).repeat(2, axis=3)
    np.testing.assert_array_equal(crop_turn_flip(IMAGE, drawn), expected)


def test_zooms_have_all_sizes_that_were_asked_for_inside_the_site():
    parameters = AugmentationParameters(crop_px=16, min_zoom_frac=0.5)
    found = draw(np.random.default_rng(0), 2000, parameters=parameters, site_shape=(2, 18, 20))
    assert (found.window_px.min(), found.window_px.max()) == (8, 16)
    assert (found.top_left + found.window_px <= [18, 20]).all()
    assert (found.top_left + found.window_px).max(axis=0).tolist() == [18, 20]
    assert found.top_left.min(axis=0).tolist() == [0, 0]


def test_crops_from_the_centre_are_the_centre_with_and_without_zoom():
    plain = AugmentationParameters(crop_px=16, crop_from="centre", has_turns=False, has_flips=False)
    found = draw(np.random.default_rng(0), 1, parameters=plain, site_shape=(2, 20, 24))
    images = np.random.default_rng(1).integers(0, 255, (1, 2, 20, 24)).astype(np.uint8)
    np.testing.assert_array_equal(crop_turn_flip(images, found), centre_crop(images, 16))
    zoomed = draw(
        np.random.default_rng(0),
        9,
        parameters=plain.model_copy(update={"min_zoom_frac": 0.5}),
        site_shape=(2, 20, 24),
    )
    assert (abs(2 * zoomed.top_left + zoomed.window_px - [20, 24]) <= 1).all()
