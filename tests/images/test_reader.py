"""Reading sites in any order, ahead of the caller, from other threads and processes; damage is named."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cellassets.errors import ArtifactMissing, CorruptArtifact
from cellassets.images.reader import ExperimentStore


def shard_of(folder, name="Plate1.zarr/c/0/0/0/0"):
    return folder / name


def test_any_order_and_repetition(store):
    everything = store.read(range(store.n_sites))
    order = [7, 0, 11, 7, 3]
    np.testing.assert_array_equal(store.read(order), everything[order])
    assert store.read([]).shape == (0, 3, 16, 24)


@pytest.mark.parametrize("block", [1, 5, 12, 100])
def test_blocks_are_everything_in_order(store, block):
    blocks = list(store.blocks(block))
    assert np.concatenate([indices for indices, _ in blocks]).tolist() == list(range(12))
    np.testing.assert_array_equal(np.concatenate([images for _, images in blocks]), store.read(range(12)))


def test_blocks_of_chosen_sites_keep_their_order(store):
    blocks = list(store.blocks(2, indices=[9, 2, 4]))
    assert [indices.tolist() for indices, _ in blocks] == [[9, 2], [4]]
    np.testing.assert_array_equal(blocks[0][1], store.read([9, 2]))


def test_a_loop_over_blocks_may_end_early(store):
    for _ in store.blocks(1):
        break


def test_threads_and_processes_may_share_a_store(store):
    everything = store.read(range(12))
    sent = pickle.loads(pickle.dumps(store))  # noqa: S301  as a DataLoader's worker would get it
    with ThreadPoolExecutor(4) as pool:
        for images in pool.map(sent.read, [range(12)] * 16):
            np.testing.assert_array_equal(images, everything)


@pytest.mark.parametrize("index", [-1, 12])
def test_a_missing_site_is_an_index_error(store, index):
    with pytest.raises(IndexError, match="has sites 0 to 11"):
        store.read([0, index])


def test_a_table_that_is_not_listed_is_named(folder, pack):
    files = [entry for entry in pack().files if entry.name != "store.json"]
    with pytest.raises(ArtifactMissing, match=r"no file 'store\.json' in this store"):
        ExperimentStore.open(folder, files, "E-1")


def test_files_that_are_not_listed_do_not_belong_to_the_store(folder, pack):
    files = [entry for entry in pack().files if not entry.name.startswith("Plate2.zarr")]
    store = ExperimentStore.open(folder, files, "E-1")
    assert store.read([0]).any()
    with pytest.raises(ArtifactMissing, match=r"Plate2.zarr/c/1/0/0/0: not among the files of this store"):
        store.read([store.n_sites - 1])


@pytest.mark.parametrize("where", [0, 5, 600])
def test_one_flipped_bit_of_a_site_is_named(folder, store, where):
    path = shard_of(folder)
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptArtifact, match=r"Plate1.zarr/c/0/0/0/0, row 0: damaged chunk"):
        store.read([0])
    assert store.read([1]).any()


def test_a_damaged_index_is_named(folder, store):
    path = shard_of(folder)
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptArtifact, match="damaged index"):
        store.read([0])


def test_a_truncated_shard_is_named(folder, store):
    path = shard_of(folder)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CorruptArtifact, match="damaged index"):
        store.read([0])


def test_a_missing_shard_is_named(folder, store):
    shard_of(folder).unlink()
    with pytest.raises(ArtifactMissing, match="listed in the commit record but missing"):
        store.read([0])
