"""`site_embeddings`: a killed run goes on, nothing half made is visible, and the plan says which model is used."""

import os
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch

from cellassets.encoders import embed
from cellassets.encoders.inference.backend import Backend
from cellassets.encoders.inference.choice import Trial
from cellassets.encoders.network import NetworkEncoder
from cellassets.encoders.summary import SiteEmbeddingsSummary
from cellassets.errors import CorruptArtifact, EncoderError, OutOfMemory, RegistryError, StaleArtifact
from cellassets.stages.catalogue import stage_named
from cellassets.stages.snapshot import NotReady
from cellassets.stages.stage import Context
from cellassets.stages.stores import open_store
from cellassets.tables.parquet import read_tables
from cellassets.tables.schemas import SITE_EMBEDDINGS

KEYS = ("HUVEC-1", "random.v1")
SITE = ["experiment_id", "plate_id", "well_id", "site_index"]


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    """Ten sites per part."""
    monkeypatch.setattr(embed, "embed_store", partial(embed.embed_store, sites_per_part=10))


def table_of(published):
    return read_tables([published.path(name) for name in published.names], SITE_EMBEDDINGS)


def is_published(place, *keys):
    return place.lake.artifact("site_embeddings", *(keys or KEYS)).find_record() is not None


def test_every_stored_site_is_published_with_a_summary(screen):
    published = screen.make("site_embeddings", *KEYS)
    store = open_store(screen.lake, screen.lake.records().need("plate_store", "HUVEC-1"))
    assert table_of(published).select(SITE).equals(store.sites.select(SITE))
    summary = SiteEmbeddingsSummary.model_validate(published.record.summary)
    assert summary.model_dump(mode="json") == published.record.summary
    assert (summary.n_sites, summary.embedding_dim, summary.n_parts_resumed) == (store.n_sites, 12, 0)
    assert summary.n_parts == len(published.names) == -(-store.n_sites // 10)


def test_embedding_again_does_nothing(screen, monkeypatch):
    first = screen.make("site_embeddings", *KEYS)
    monkeypatch.setattr("cellassets.encoders.loading.load_encoder", lambda *_: pytest.fail("an encoder was loaded"))
    assert screen.make("site_embeddings", *KEYS) == first


KILLED = """
import os, signal, sys
from functools import partial
from pathlib import Path
from cellassets.encoders import embed
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment

def kill_at(n_done, n_total, what, note=""):
    if n_done > 25:
        os.kill(os.getpid(), signal.SIGKILL)

embed.embed_store = partial(embed.embed_store, sites_per_part=10)
home = Path(sys.argv[1])
deployment = Deployment.of({}, home=home, configs=home / "configs")
keys = {"experiment": "HUVEC-1", "model": "random.v1"}
carry_out(stage_named("site_embeddings"), deployment, keys, progress=kill_at)
"""


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_visible_and_goes_on(screen):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(screen.home)], check=False, capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not is_published(screen)
    published = screen.make("site_embeddings", *KEYS)
    assert published.record.summary["n_parts_resumed"] >= 1
    assert table_of(published).height == published.record.summary["n_sites"]
    published.artifact.verify(published.record)


def interrupted_after(n_sites):
    def progress(n_done, *_, **__):
        if n_done > n_sites:
            raise KeyboardInterrupt

    return progress


def fast(name):
    """A backend that is always chosen: float32 on images of a little more contrast."""

    def prepare(network, example):  # noqa: ARG001
        def forward(images):
            with torch.inference_mode():
                return network(images * 1.001)

        return forward

    return Backend(name, "fp32", prepare, min_table_s=0.0)


@pytest.fixture
def on_a_machine(monkeypatch):
    """`on_a_machine("swift")`: this backend is on it, and is faster than the reference."""

    def on_a_machine(*names):
        monkeypatch.setattr("cellassets.encoders.network.candidates", lambda _: tuple(map(fast, names)))

    monkeypatch.setattr(Trial, "_measured", lambda self, backend, *_: (2.0, backend.prepare(self.network, self.batch)))
    return on_a_machine


@pytest.mark.parametrize("first", [(), ("swift",)], ids=["fp32 first", "swift first"])
def test_all_parts_are_computed_by_the_backend_of_the_first_one(screen, on_a_machine, tmp_path, first):
    on_a_machine(*first)
    undisturbed = screen.copy(tmp_path / "undisturbed").make("site_embeddings", *KEYS)
    with pytest.raises(KeyboardInterrupt):
        screen.make("site_embeddings", *KEYS, progress=interrupted_after(25))
    on_a_machine("other", "swift")
    resumed = screen.make("site_embeddings", *KEYS)
    assert resumed.record.summary["n_parts_resumed"] == 2
    assert resumed.record.summary["backend"] == (*first, "torch-fp32")[0]
    assert resumed.record.files == undisturbed.record.files


def test_a_machine_without_the_backend_makes_all_parts_again(screen, on_a_machine, tmp_path, caplog):
    on_a_machine("slow")
    undisturbed = screen.copy(tmp_path / "undisturbed").make("site_embeddings", *KEYS)
    on_a_machine("swift")
    with pytest.raises(KeyboardInterrupt):
        screen.make("site_embeddings", *KEYS, progress=interrupted_after(25))
    on_a_machine("slow")
    again = screen.make("site_embeddings", *KEYS)
    assert "computed by swift, which cannot be used here (it is none of torch-fp32, slow" in caplog.text
    assert again.record.summary["n_parts_resumed"] == 0
    assert again.record.summary["backend"] == "slow"
    assert again.record.files == undisturbed.record.files


def test_parts_of_an_unknown_precision_are_made_again(screen):
    with pytest.raises(KeyboardInterrupt):
        screen.make("site_embeddings", *KEYS, progress=interrupted_after(25))
    (left,) = screen.lake.artifact("site_embeddings", *KEYS).data.iterdir()
    (left / "precision.json").unlink()
    assert screen.make("site_embeddings", *KEYS).record.summary["n_parts_resumed"] == 0


def test_a_damaged_part_is_made_again_once_the_record_is_deleted(screen):
    published = screen.make("site_embeddings", *KEYS)
    path = published.path("part-00000.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptArtifact, match="part-00000"):
        published.artifact.verify(published.record)
    published.artifact.record_path(1).unlink()
    again = screen.make("site_embeddings", *KEYS)
    assert again.record.files == published.record.files
    assert again.record.summary["n_parts_resumed"] == again.record.summary["n_parts"] - 1
    again.artifact.verify(again.record)


def test_a_damaged_shard_is_named_and_nothing_is_published(screen):
    store = screen.lake.current("plate_store", "HUVEC-1")
    path = store.path(next(name for name in store.names if "/c/" in name))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CorruptArtifact, match="damaged index"):
        screen.make("site_embeddings", *KEYS)
    assert not is_published(screen)


def test_a_vector_that_is_not_finite_publishes_nothing(screen, monkeypatch):
    honest = NetworkEncoder.embed

    def broken(self, images, mean, std):
        found = honest(self, images, mean, std)
        found[1, 0] = np.nan
        return found

    monkeypatch.setattr(NetworkEncoder, "embed", broken)
    with pytest.raises(EncoderError, match="is not finite"):
        screen.make("site_embeddings", *KEYS)
    assert not is_published(screen)


def test_running_out_of_memory_is_an_error_that_names_the_limit(screen, monkeypatch):
    def too_large(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(NetworkEncoder, "embed", too_large)
    with pytest.raises(OutOfMemory, match=r"site_embeddings of HUVEC-1\|random.v1: out of GPU memory: give the stage"):
        screen.make("site_embeddings", *KEYS)
    assert not is_published(screen)


def test_a_model_for_other_channels_publishes_nothing(screen):
    with pytest.raises(EncoderError, match=r"four.v1 was made for 4 channels"):
        screen.make("site_embeddings", "HUVEC-1", "four.v1")
    assert not is_published(screen, "HUVEC-1", "four.v1")


def test_what_is_not_there_is_named(screen):
    with pytest.raises(NotReady, match="plate_store of HUVEC-9"):
        screen.plan("site_embeddings", "HUVEC-9", "random.v1")
    with pytest.raises(RegistryError, match=r"nobody\.v3"):
        screen.plan("site_embeddings", "HUVEC-1", "nobody.v3")


def test_sites_are_those_of_the_store_of_the_plan(screen, made_from_pins, publish_newer):
    def publish():
        fewer = {"images.parquet": lambda images: images.filter(images["site_index"] == 1)}
        publish_newer(screen.deployment, "raw_plates", "HUVEC-1", change=fewer)
        screen.make("plate_store", "HUVEC-1")

    after = made_from_pins(screen, "site_embeddings", KEYS, publish)
    assert after.summary["n_sites"] == screen.lake.current("plate_store", "HUVEC-1").record.summary["n_sites"]


def test_a_model_that_has_other_files_than_the_plan_says_is_refused(screen):
    plan = screen.plan("site_embeddings", *KEYS)
    screen.registry.client().set_model_version_tag("random", "1", "fingerprint", "of other files")
    with pytest.raises(StaleArtifact, match=r"random\.v1: its files are of other files"):
        stage_named("site_embeddings").make(Context(screen.deployment), plan)
    assert not is_published(screen)


def test_two_runs_at_once_publish_one_table(screen, made_once_by_two):
    made_once_by_two(screen, "site_embeddings", *KEYS)


def test_a_full_disk_leaves_nothing_visible(screen, monkeypatch):
    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        screen.make("site_embeddings", *KEYS)
    monkeypatch.undo()
    assert not is_published(screen)
    assert screen.make("site_embeddings", *KEYS).record.summary["n_parts_resumed"] == 0
