"""The same images on scales of 8, 12 and 16 bits have the same vectors; what an encoder does not take is refused."""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from upath import UPath

from cellassets.encoders.container.declaration import ContainerDeclaration
from cellassets.encoders.container.registering import write_model_folder
from cellassets.encoders.embed import embed_store
from cellassets.encoders.inference.choice import min_centred_cosine
from cellassets.encoders.loading import load_encoder
from cellassets.encoders.network import NetworkEncoder
from cellassets.errors import EncoderError
from cellassets.tables.parquet import read_tables, vectors
from cellassets.tables.schemas import SITE_EMBEDDINGS
from cellassets.training.recipe import ConvNextBackbone

# of every channel: the mean of |z|, of z^3 and of exp(-z), as a program computes them that follows the documentation
PROGRAM = """
import json, os
import numpy as np
folder = os.environ["CELLASSETS_INPUT"]
manifest, images = json.load(open(folder + "/manifest.json")), np.load(folder + "/images.npy")
assert images.dtype == manifest["images"]["dtype"]
mean, std = (np.array([site[name] for site in manifest["sites"]]) for name in ("channel_mean", "channel_std"))
std = np.maximum(std, manifest["min_channel_std"])
z = (images - mean[:, :, None, None]) / std[:, :, None, None]
features = [f(z).mean(axis=(2, 3)) for f in (np.abs, lambda z: z**3, lambda z: np.exp(-z))]
np.save(os.environ["CELLASSETS_OUTPUT"] + "/embeddings.npy", np.concatenate(features, axis=1).astype(np.float32))
"""


class Runner:
    """Runs the program of a batch as a process of this machine, and keeps the manifest that it was given."""

    @contextmanager
    def exchange(self):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)

    def run(self, batch):
        places = {"CELLASSETS_INPUT": str(batch.folder / "input"), "CELLASSETS_OUTPUT": str(batch.folder / "output")}
        self.manifest = json.loads((batch.folder / "input" / "manifest.json").read_bytes())
        command = [sys.executable, *batch.spec.local_command[1:]]
        subprocess.run(command, check=True, cwd=batch.folder / "program", env={**os.environ, **places})


@pytest.fixture
def container(tmp_path):
    """An encoder of `PROGRAM`: `container(pixel_types=("uint16",))`."""

    def container(**changes):
        (tmp_path / "encode.py").write_text(PROGRAM)
        values = {"local_command": ["python", "encode.py"], "files": ["encode.py"], "n_channels": 6}
        declared = ContainerDeclaration.model_validate(
            {"name": "z", "embedding_dim": 18, "pixel_types": ("uint8", "uint16"), **values, **changes}
        )
        folder = write_model_folder(declared, tmp_path, Path(tempfile.mkdtemp(dir=tmp_path)) / "model")
        return load_encoder(folder, containers=Runner())

    return container


def embedded(store, encoder, folder, model_key="it.v1"):
    found = embed_store(store, encoder, UPath(folder), model_key=model_key)
    return vectors(read_tables([UPath(folder / name) for name in found.names], SITE_EMBEDDINGS))


def hold_to_one_scale(scaled_store, encoder, folder):
    """Holds the vectors of 12 and 16 bits to those of 8 bits, also after the mean of all vectors is subtracted."""
    expected, *others = (
        embedded(scaled_store("HUVEC-1", scale), encoder, folder / scale) for scale in ("8 bit", "12 bit", "16 bit")
    )
    assert np.ptp(expected, axis=0).max() > 0.1, "sites have vectors of their own"
    for found in others:
        assert min_centred_cosine(expected, found) > 0.9999
        cosines = np.sum(expected * found, axis=1) / np.linalg.norm(expected, axis=1) / np.linalg.norm(found, axis=1)
        assert cosines.min() > 0.9999


@pytest.mark.parametrize("normalisation", ["site", "plate"])
def test_a_network_gives_the_same_vectors_on_every_scale(tmp_path, scaled_store, save_network, normalisation):
    encoder = NetworkEncoder(save_network(tmp_path / "model", normalisation=normalisation))
    hold_to_one_scale(scaled_store, encoder, tmp_path)


@pytest.mark.parametrize("normalisation", ["site", "plate"])
def test_a_container_encoder_gives_the_same_vectors_on_every_scale(tmp_path, scaled_store, container, normalisation):
    hold_to_one_scale(scaled_store, container(normalisation=normalisation), tmp_path)


@pytest.mark.parametrize(
    ("pixel_types", "scale", "given"),
    [
        (("uint8", "uint16"), "8 bit", "uint8"),
        (("uint8", "uint16"), "12 bit", "uint16"),
        (("uint16",), "8 bit", "uint16"),
        (("uint8",), "8 bit", "uint8"),
    ],
)
def test_a_program_gets_the_pixels_that_it_declares(tmp_path, scaled_store, container, pixel_types, scale, given):
    encoder, store = container(pixel_types=pixel_types), scaled_store("HUVEC-1", scale)
    embedded(store, encoder, tmp_path / "parts")
    manifest = encoder.runner.manifest
    assert manifest["images"]["dtype"] == given
    assert manifest["top_grey_level"] == store.imaging.top_grey_level
    assert manifest["min_channel_std"] == pytest.approx(1 if scale == "8 bit" else 4095 / 255)


def test_a_program_for_8_bits_is_not_given_16(tmp_path, scaled_store, container):
    message = r"model it.v1 takes pixels of uint8, experiment HUVEC-1 has uint16; nothing is converted to fewer bits"
    with pytest.raises(EncoderError, match=message):
        embedded(scaled_store("HUVEC-1", "12 bit"), container(pixel_types=("uint8",)), tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


def test_the_model_of_a_declaration_without_pixel_types_is_what_it_was(container):
    assert "pixel_types" not in json.loads((container(pixel_types=("uint8",)).folder / "encoder.json").read_bytes())
    assert "pixel_types" in json.loads((container(pixel_types=("uint16",)).folder / "encoder.json").read_bytes())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "centre",
            r"it.v1, experiment HUVEC-1: sites of 48 x 48 .* centre_crop_px of its recipe needs at least 64 x 64",
        ),
        ("backbone", r"it.v1, experiment HUVEC-1: sites of 48 x 48 .* its backbone convnext needs at least 256 x 256"),
    ],
)
def test_sites_that_are_too_small_for_a_network_are_refused(tmp_path, scaled_store, save_network, change, message):
    encoder = NetworkEncoder(save_network(tmp_path / "model"))
    changes = {"backbone": ConvNextBackbone(widths=(8,) * 7, depths=(1,) * 7)}
    if change == "centre":
        changes = {"preprocessing": encoder.spec.preprocessing.model_copy(update={"centre_crop_px": 64})}
    encoder.spec = encoder.spec.model_copy(update=changes)
    with pytest.raises(EncoderError, match=message):
        embedded(scaled_store("HUVEC-1", "8 bit"), encoder, tmp_path / "parts")
