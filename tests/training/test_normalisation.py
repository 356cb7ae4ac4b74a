import numpy as np
import polars as pl
import pytest
import torch

from cellassets.training.batches import Batch, normalised
from cellassets.training.normalisation import channel_statistics, min_std, scale_and_shift

PLATES = ["Plate1", "Plate2", "Plate1", "Plate2", "Plate2"]


def pixels() -> np.ndarray:
    levels = np.random.default_rng(0).integers(0, 200, (5, 1, 1, 1))
    return (levels + np.random.default_rng(1).integers(0, 50, (5, 2, 9, 7))).astype(np.uint8)


def sites_of(images: np.ndarray, experiment_ids: list[str]) -> pl.DataFrame:
    flat = images.reshape(*images.shape[:2], -1).astype(np.float64)
    moments = {
        name: pl.Series(values.astype(np.float32), dtype=pl.Array(pl.Float32, images.shape[1]))
        for name, values in (("channel_mean", flat.mean(-1)), ("channel_std", flat.std(-1)))
    }
    return pl.DataFrame({"experiment_id": experiment_ids, "plate_id": PLATES, **moments})


def test_plate_statistics_are_those_of_all_its_pixels():
    images = pixels()
    mean, std = channel_statistics(sites_of(images, ["E"] * 5), "plate")
    for plate in ("Plate1", "Plate2"):
        rows = [row for row, name in enumerate(PLATES) if name == plate]
        for row in rows:
            np.testing.assert_allclose(mean[row], images[rows].mean(axis=(0, 2, 3)), rtol=1e-5)
            np.testing.assert_allclose(std[row], images[rows].std(axis=(0, 2, 3)), rtol=1e-4)


def test_plates_of_the_same_name_in_two_experiments_are_two_plates():
    images = pixels()
    mean, _ = channel_statistics(sites_of(images, ["E", "E", "F", "F", "F"]), "plate")
    np.testing.assert_allclose(mean[0], images[0].mean(axis=(1, 2)), rtol=1e-5)


def test_site_statistics_are_the_sites_own():
    images = pixels()
    mean, std = channel_statistics(sites_of(images, ["E"] * 5), "site")
    np.testing.assert_allclose(mean, images.mean(axis=(2, 3)), rtol=1e-5)
    np.testing.assert_allclose(std, images.std(axis=(2, 3)), rtol=1e-5)


def test_the_multiply_add_is_the_z_score():
    images = pixels()
    mean, std = images.mean(axis=(2, 3), dtype=np.float32), images.std(axis=(2, 3), dtype=np.float32)
    scale, shift = (torch.from_numpy(values) for values in scale_and_shift(mean, std))
    nothing = torch.zeros(5, dtype=torch.int64)
    found = normalised(Batch(torch.from_numpy(images), scale, shift, nothing, nothing))
    expected = (images - mean[:, :, None, None]) / std[:, :, None, None]
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)


def test_plate_statistics_of_bright_16_bit_images_keep_their_digits():
    images = (60000 + 8 * pixels().astype(np.uint32) % 64).astype(np.uint16)
    _, std = channel_statistics(sites_of(images, ["E"] * 5), "plate")
    rows = [row for row, name in enumerate(PLATES) if name == "Plate1"]
    np.testing.assert_allclose(std[0], images[rows].std(axis=(0, 2, 3)), rtol=1e-3)


@pytest.mark.parametrize(
    ("dtype", "top_grey_level", "least"),
    [
        ("uint8", None, 1),
        ("uint8", 40, 1),
        ("uint16", None, 257),
        ("uint16", 65535, 257),
        ("uint16", 4095, 4095 / 255),
        ("uint16", 4000, 4095 / 255),
        ("uint16", 4096, 16383 / 255),
        ("uint16", 1000, 1023 / 255),
        ("uint16", 200, 1),
    ],
)
def test_the_smallest_deviation_is_one_level_of_8_bits(dtype, top_grey_level, least):
    assert min_std(dtype, top_grey_level) == pytest.approx(least)


def test_an_almost_dead_channel_is_the_same_on_every_scale():
    mean, std = np.float32([[7.0]]), np.float32([[0.5]])
    for factor, top in ((1, None), (257, 65535)):
        dtype = "uint8" if factor == 1 else "uint16"
        scale, shift = scale_and_shift(factor * mean, factor * std, least=min_std(dtype, top))
        assert scale.item() * factor * 8 + shift.item() == pytest.approx(1, abs=1e-5), "one level is not amplified"


def test_a_dead_channel_becomes_zero_and_not_noise():
    scale, shift = scale_and_shift(np.float32([[7.0]]), np.float32([[0.0]]))
    assert (scale * 7 + shift).item() == 0
    assert scale.item() == 1
