"""Compression and statistics of single sites: every type and level comes back, and nothing overflows at the limits."""

import json

import numpy as np
import pytest
import zarr
from upath import UPath

from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.images.spec import PlateSpec, decode_site, encode_site, frame_buffer
from cellassets.images.store_spec import StoreSpec
from cellassets.images.writer import MAX_WIDTH_UINT32, STATISTICS_BLOCK, channel_statistics

RNG = np.random.default_rng(0)


def plate(images):
    n_channels, height, width = images.shape
    return PlateSpec(
        plate_id="P",
        n_sites=1,
        n_channels=n_channels,
        height=height,
        width=width,
        dtype=str(images.dtype),
        shard_sites=1,
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("shape", [(1, 1, 1), (12, 33, 70), (2, 300, 301)])
def test_noise_that_cannot_be_compressed_fits_into_its_memory_and_comes_back(dtype, level, shape):
    images = RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    memory = frame_buffer(plate(images))
    memory[:] = 255
    content = encode_site(images, level, memory)
    assert np.shares_memory(content, memory)
    found = np.zeros_like(images)
    decode_site(content.tobytes(), found, source="it")
    np.testing.assert_array_equal(found, images)


@pytest.mark.parametrize("level", [0, 1])
def test_a_zarr_reader_is_told_the_level_that_was_used(zone, landed, folder, level):
    source = UPath(zone.root / "E-1")
    packed = pack_plates(
        landed.images, landed.wells, Packing(source, folder, landed.imaging, StoreSpec(blosc_level=level))
    )
    described = json.loads((folder / "Plate1.zarr" / "zarr.json").read_bytes())
    blosc = described["codecs"][0]["configuration"]["codecs"][1]["configuration"]
    assert (blosc["clevel"], blosc["shuffle"], blosc["typesize"]) == (level, "bitshuffle", 1)
    store = ExperimentStore.open(folder, packed.files, "E-1")
    np.testing.assert_array_equal(zarr.open_array(str(folder / "Plate1.zarr"), mode="r")[:], store.read(range(6)))


@pytest.mark.parametrize("scale", ["12 bit", "16 bit"])
def test_a_zarr_reader_opens_stores_of_16_bits(scaled_store, scale):
    store = scaled_store("HUVEC-1", scale)
    (plate_id, *_) = store.sites["plate_id"].unique(maintain_order=True)
    rows = store.sites.with_row_index("place").filter(store.sites["plate_id"] == plate_id)["place"].to_numpy()
    array = zarr.open_array(str(store._folder / f"{plate_id}.zarr"), mode="r")
    assert array.dtype == np.uint16
    np.testing.assert_array_equal(array[:], store.read(rows))


@pytest.mark.parametrize("width", [8192, MAX_WIDTH_UINT32, MAX_WIDTH_UINT32 + 1, 1 << 20])
def test_the_sum_of_the_widest_and_brightest_row_does_not_overflow(width):
    """65,537 pixels of the highest level sum to exactly the largest uint32; wider rows are summed in uint64."""
    images = np.full((1, 2, width), 65535, np.uint16)
    mean, std = channel_statistics(images)
    assert (mean[0], std[0]) == (65535, 0)


def test_statistics_at_the_top_of_16_bits_are_exact_enough():
    noise = RNG.integers(0, 11, (2, 700, 811), dtype=np.uint16)
    images = np.stack([noise[0] + 65525, noise[1]]).astype(np.uint16)
    assert images[0].size > 2 * STATISTICS_BLOCK, "several blocks"
    mean, std = channel_statistics(images)
    flat = images.reshape(2, -1).astype(np.float64)
    np.testing.assert_allclose(mean, flat.mean(axis=1), rtol=1e-7)
    np.testing.assert_allclose(std, flat.std(axis=1), rtol=1e-5)
