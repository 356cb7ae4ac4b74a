"""Every site gets its vector, in order, once; parts of an earlier run are used again if they are whole."""

import numpy as np
import pytest
from upath import UPath

from cellassets.encoders.network import NetworkEncoder
from cellassets.errors import EncoderError
from cellassets.tables.parquet import read_tables, vectors
from cellassets.tables.schemas import SITE_EMBEDDINGS
from cellassets.training.normalisation import channel_statistics

KEY = ["experiment_id", "plate_id", "well_id", "site_index"]


def embedded(folder, found):
    return read_tables([UPath(folder / name) for name in found.names], SITE_EMBEDDINGS)


def test_every_site_has_the_networks_vector_in_the_stores_order(store, models, embed, tmp_path):
    found = embed(tmp_path, sites_per_part=20)
    table, summary = embedded(tmp_path, found), found.summary
    assert table.select(KEY).equals(store.sites.select(KEY))
    assert set(table["model_key"]) == {"random.v1"}
    encoder = NetworkEncoder(models["random.v1"])
    encoder.compute_in(summary.backend)
    mean, std = channel_statistics(store.sites, "plate")
    alone = np.concatenate([encoder.embed(store.read([i]), mean[[i]], std[[i]]) for i in range(store.n_sites)])
    np.testing.assert_allclose(vectors(table), alone, rtol=1e-4, atol=1e-5 if summary.precision == "fp32" else 3e-2)
    assert summary.n_sites == store.n_sites
    assert summary.embedding_dim == 12
    assert summary.sites_per_s > 0
    assert summary.n_parts == len(found.names) == -(-store.n_sites // 20)


def test_the_same_model_gives_bit_equal_files(embed, tmp_path):
    first, second = embed(tmp_path / "a"), embed(tmp_path / "b")
    assert first.names == second.names
    for name in first.names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_damaged_or_foreign_part_of_an_earlier_run_is_made_again(embed, tmp_path):
    expected = embedded(tmp_path, embed(tmp_path, sites_per_part=20))
    first, second = (tmp_path / f"part-0000{number}.parquet" for number in (0, 1))
    first.write_bytes(first.read_bytes()[:-100])
    second.write_bytes((tmp_path / "part-00002.parquet").read_bytes())
    again = embed(tmp_path, sites_per_part=20)
    assert again.summary.n_parts_resumed == again.summary.n_parts - 2
    assert embedded(tmp_path, again).equals(expected)


def test_a_model_for_other_channels_is_refused_by_name(embed, tmp_path):
    with pytest.raises(EncoderError, match=r"four.v1 was made for 4 channels, experiment HUVEC-1 has 6 \(Hoechst"):
        embed(tmp_path, "four.v1")


def test_a_vector_that_is_not_finite_names_its_site(store, embed, tmp_path, monkeypatch):
    honest = NetworkEncoder.embed

    def broken(self, images, mean, std):
        found = honest(self, images, mean, std)
        found[1, 0] = np.nan
        return found

    monkeypatch.setattr(NetworkEncoder, "embed", broken)
    site = store.sites.row(1, named=True)
    place = f"{site['plate_id']} {site['well_id']} site {site['site_index']}"
    with pytest.raises(EncoderError, match=rf"HUVEC-1 {place} is not finite"):
        embed(tmp_path)
    assert not list(tmp_path.glob("*.parquet"))


@pytest.mark.slow
def test_classical_features_come_by_the_same_way(store, embed, tmp_path):
    found = embed(tmp_path, "classical.v1")
    table = embedded(tmp_path, found)
    assert table.height == found.summary.n_sites == store.n_sites
    assert found.summary.precision == "fp64"
    assert vectors(table).std(axis=0).max() > 0
