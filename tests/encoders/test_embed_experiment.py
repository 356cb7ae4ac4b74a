"""Every site gets its vector, in order, once; a killed run goes on; nothing half-written is visible."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from upath import UPath

from cellassets.encoders import run
from cellassets.encoders.network import NetworkEncoder
from cellassets.encoders.run import embed_experiment
from cellassets.errors import ArtifactMissing, EncoderError, RegistryError
from cellassets.storage.lake import Lake
from cellassets.tables.parquet import read_tables, vectors
from cellassets.tables.schemas import SITE_EMBEDDINGS
from cellassets.training.normalisation import channel_statistics

EXPERIMENT = "HUVEC-1"
KEY = ["experiment_id", "plate_id", "well_id", "site_index"]


@pytest.fixture
def lake(embedding_lake, tmp_path):
    """The stored experiment in a lake of this test's own."""
    (tmp_path / "plate_store").symlink_to(embedding_lake.root / "plate_store")
    return Lake(UPath(tmp_path))


def embedded(lake, record, model_key="random.v1"):
    artifact = lake.site_embeddings(EXPERIMENT, model_key)
    return read_tables([artifact.path(entry.name, record) for entry in record.files], SITE_EMBEDDINGS)


def test_every_site_has_the_networks_vector_in_the_stores_order(lake, models, tmp_path, open_store):
    record = embed_experiment(lake, models, EXPERIMENT, model_key="random.v1", sites_per_part=20)
    store = open_store(lake, EXPERIMENT)
    table = embedded(lake, record)
    assert table.select(KEY).equals(store.sites.select(KEY))
    assert set(table["model_key"]) == {"random.v1"}
    encoder = NetworkEncoder(models.fetch("random.v1", tmp_path / "fetched"))
    encoder._is_judged, encoder.precision = True, record.summary["precision"]
    mean, std = channel_statistics(store.sites, "plate")
    alone = np.concatenate([encoder.embed(store.read([i]), mean[[i]], std[[i]]) for i in range(store.n_sites)])
    np.testing.assert_allclose(
        vectors(table), alone, rtol=1e-4, atol=1e-5 if record.summary["precision"] == "fp32" else 3e-2
    )
    assert record.summary["n_sites"] == store.n_sites
    assert record.summary["embedding_dim"] == 12
    assert record.summary["sites_per_s"] > 0
    assert record.summary["n_parts"] == len(record.files) == -(-store.n_sites // 20)


def test_embedding_again_does_nothing(lake, models, monkeypatch):
    first = embed_experiment(lake, models, EXPERIMENT, model_key="random.v1")
    monkeypatch.setattr(run, "load_encoder", lambda *_: pytest.fail("an encoder was loaded"))
    assert embed_experiment(lake, models, EXPERIMENT, model_key="random.v1") == first


def test_the_same_model_gives_bit_equal_files(lake, models, tmp_path):
    other = Lake(UPath(tmp_path / "other"))
    other.root.mkdir()
    (Path(other.root) / "plate_store").symlink_to(lake.root / "plate_store")
    records = [embed_experiment(place, models, EXPERIMENT, model_key="random.v1") for place in (lake, other)]
    assert records[0].files == records[1].files


KILLED = """
import os, signal, sys
from upath import UPath
from cellassets.encoders.run import embed_experiment
from cellassets.storage.lake import Lake
from cellassets.registry import Registry

def progress(n_done, n_total, what):
    if n_done > 25:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    registry = Registry(sys.argv[2], sys.argv[3])
    embed_experiment(Lake(UPath(sys.argv[1])), registry, "HUVEC-1", model_key="random.v1", sites_per_part=10,
                     progress=progress)
"""


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_visible_and_goes_on(lake, models):
    command = [sys.executable, "-c", KILLED, str(lake.root), models.tracking_uri, models.artifact_root]
    killed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    artifact = lake.site_embeddings(EXPERIMENT, "random.v1")
    assert artifact.find_record() is None
    record = embed_experiment(lake, models, EXPERIMENT, model_key="random.v1", sites_per_part=10)
    assert record.summary["n_parts_resumed"] >= 1
    straight = embed_experiment(lake, models, EXPERIMENT, model_key="random.v1", sites_per_part=10)
    assert embedded(lake, straight).height == record.summary["n_sites"]
    artifact.verify()


def test_a_damaged_or_foreign_part_of_an_earlier_run_is_made_again(lake, models):
    record = embed_experiment(lake, models, EXPERIMENT, model_key="random.v1", sites_per_part=20)
    artifact = lake.site_embeddings(EXPERIMENT, "random.v1")
    expected = embedded(lake, record)
    first, second = (artifact.path(f"part-0000{number}.parquet", record) for number in (0, 1))
    first.write_bytes(first.read_bytes()[:-100])
    second.write_bytes(artifact.path("part-00002.parquet", record).read_bytes())
    (artifact.root / "record.json").unlink()
    again = embed_experiment(lake, models, EXPERIMENT, model_key="random.v1", sites_per_part=20)
    assert again.summary["n_parts_resumed"] == again.summary["n_parts"] - 2
    assert embedded(lake, again).equals(expected)


def test_a_model_for_other_channels_is_refused_by_name(lake, models):
    with pytest.raises(EncoderError, match=r"four.v1 was made for 4 channels, experiment HUVEC-1 has 6 \(Hoechst"):
        embed_experiment(lake, models, EXPERIMENT, model_key="four.v1")


def test_a_vector_that_is_not_finite_names_its_site_and_publishes_nothing(lake, models, monkeypatch, open_store):
    honest = NetworkEncoder.embed

    def broken(self, images, mean, std):
        embedded = honest(self, images, mean, std)
        embedded[1, 0] = np.nan
        return embedded

    monkeypatch.setattr(NetworkEncoder, "embed", broken)
    site = open_store(lake, EXPERIMENT).sites.row(1, named=True)
    place = f"{site['plate_id']} {site['well_id']} site {site['site_index']}"
    with pytest.raises(EncoderError, match=rf"HUVEC-1 {place} is not finite"):
        embed_experiment(lake, models, EXPERIMENT, model_key="random.v1")
    assert lake.site_embeddings(EXPERIMENT, "random.v1").find_record() is None


def test_what_is_not_there_is_named(lake, models):
    with pytest.raises(ArtifactMissing, match="HUVEC-9"):
        embed_experiment(lake, models, "HUVEC-9", model_key="random.v1")
    with pytest.raises(RegistryError, match=r"nobody\.v3"):
        embed_experiment(lake, models, EXPERIMENT, model_key="nobody.v3")


@pytest.mark.slow
def test_classical_features_come_by_the_same_way(lake, models):
    record = embed_experiment(lake, models, EXPERIMENT, model_key="classical.v1")
    table = embedded(lake, record, "classical.v1")
    assert table.height == record.summary["n_sites"]
    assert record.summary["precision"] == "fp64"
    assert vectors(table).std(axis=0).max() > 0
