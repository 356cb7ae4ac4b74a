"""Batch normalisation with the statistics of the experiment or plate that is embedded."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn
from upath import UPath

import cellassets
from cellassets.encoders.adaptation import sites_to_adapt_to
from cellassets.encoders.batch_norm import adapt_batch_norm
from cellassets.encoders.embed import embed_store
from cellassets.encoders.network import NetworkEncoder
from cellassets.errors import EncoderError
from cellassets.tables.parquet import read_table, vectors
from cellassets.tables.schemas import SITE_EMBEDDINGS


@pytest.mark.parametrize("n_sites", [2, 31, 33, 65, 512, 5000])
def test_the_batches_hold_different_sites_from_the_whole_experiment_and_are_of_equal_size(n_sites):
    batches = sites_to_adapt_to(n_sites)
    sizes = [len(batch) for batch in batches]
    chosen = np.concatenate(batches)
    assert len(set(chosen.tolist())) == len(chosen) == min(n_sites, 512)
    assert (chosen.min(), chosen.max()) == (0, n_sites - 1)
    assert 2 <= min(sizes) >= max(sizes) - 1
    assert max(sizes) <= 32


def test_one_site_has_no_statistics():
    with pytest.raises(EncoderError, match="need at least 2; embed more sites at once"):
        sites_to_adapt_to(1)


def test_the_statistics_are_the_means_of_those_of_the_batches():
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(16, 3, 8, 8, generator=generator) * 3 + 5 for _ in range(4)]
    layer = nn.BatchNorm2d(3).eval()
    adapt_batch_norm(nn.Sequential(layer), batches)
    assert torch.allclose(layer.running_mean, torch.stack([b.mean(dim=(0, 2, 3)) for b in batches]).mean(dim=0))
    assert torch.allclose(layer.running_var, torch.stack([b.var(dim=(0, 2, 3)) for b in batches]).mean(dim=0))
    assert (layer.training, layer.momentum) == (False, 0.1)


def test_a_network_that_fails_is_left_in_evaluation_mode():
    layer = nn.BatchNorm2d(3).eval()
    with pytest.raises(ValueError, match="more than 1 value"):
        adapt_batch_norm(nn.Sequential(layer), [torch.zeros(1, 3, 1, 1)])
    assert (layer.training, layer.momentum) == (False, 0.1)


@pytest.fixture
def folder(tmp_path):
    return UPath(tmp_path / "vectors")


@pytest.fixture
def encoder(save_network, tmp_path):
    """Returns an encoder of the same weights: `encoder("experiment")`."""

    def encoder(statistics):
        folder = tmp_path / statistics
        if not folder.exists():
            save_network(folder, normalisation="site", batch_statistics=statistics)
        made = NetworkEncoder(folder)
        made.compute_in("fp32")
        return made

    return encoder


def embedded(store, encoder, folder, **options):
    names = embed_store(store, encoder, folder, model_key="m.v1", **options).names
    return np.concatenate([vectors(read_table(folder / name, SITE_EMBEDDINGS)) for name in names])


def test_vectors_of_an_experiment_are_centred_and_scaled_in_every_dimension(store, encoder, folder):
    adapted = embedded(store, encoder("experiment"), folder)
    trained = embedded(store, encoder("trained"), folder.parent / "trained")
    rows = np.concatenate(sites_to_adapt_to(store.n_sites))
    # the last layer is a batch normalisation; in the layers before it, single batches had statistics of their own
    assert np.abs(adapted[rows].mean(axis=0)).max() < 0.2
    assert np.abs(adapted[rows].std(axis=0) - 1).max() < 0.3
    assert np.abs(trained[rows].mean(axis=0)).max() > 0.2, "the network is not trained on these images"


def test_the_vectors_of_a_plate_are_those_of_its_sites_alone(store, encoder, folder, tmp_path):
    plate_id = pl.when(pl.int_range(pl.len()) < 18).then(pl.lit("A")).otherwise("plate_id")
    store = replace(store, sites=store.sites.with_columns(plate_id=plate_id))
    adapted = embedded(store, encoder("plate"), folder)
    in_parts = embedded(store, encoder("plate"), folder.parent / "parts", sites_per_part=7)
    np.testing.assert_allclose(in_parts, adapted, atol=1e-5)
    model = cellassets.load_model(tmp_path / "plate")
    for plate_id in store.sites["plate_id"].unique():
        rows = np.flatnonzero((store.sites["plate_id"] == plate_id).to_numpy())
        np.testing.assert_allclose(model.embed_images(store.read(rows)), adapted[rows], atol=2e-4)


def test_the_experiment_before_leaves_nothing_behind(store, encoder, folder):
    alone = embedded(store, encoder("experiment"), folder)
    used = encoder("experiment")
    used.adapt(8, lambda rows: (store.read(rows) // 2, *np.ones((2, len(rows), store.n_channels), np.float32)))
    assert np.array_equal(embedded(store, used, folder.parent / "again"), alone)


def test_a_network_with_trained_statistics_keeps_them(store, encoder, folder):
    trained = encoder("trained")
    before = {name: value.clone() for name, value in trained.network.state_dict().items()}
    embedded(store, trained, folder)
    assert all(torch.equal(value, before[name]) for name, value in trained.network.state_dict().items())


def test_a_model_in_a_folder_adapts_to_the_images_of_a_call(store, encoder, folder, tmp_path):
    expected = embedded(store, encoder("experiment"), folder)
    found = cellassets.load_model(tmp_path / "experiment").embed_images(store.read(np.arange(store.n_sites)))
    np.testing.assert_allclose(found, expected, atol=2e-4)
