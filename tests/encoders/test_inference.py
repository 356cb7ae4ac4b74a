"""The fastest right backend is chosen, a wrong one is refused, and what is missing or fails is said."""

import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cellassets.encoders.inference import torch_backends
from cellassets.encoders.inference.backend import REFERENCE, Backend
from cellassets.encoders.inference.candidates import candidates, reference
from cellassets.encoders.inference.choice import Trial, min_centred_cosine
from cellassets.encoders.inference.overlap import Pending, overlapped
from cellassets.encoders.network import NetworkEncoder
from cellassets.errors import EncoderError
from cellassets.training.backbone import build_network
from cellassets.training.recipe import ResNetBackbone, VitBackbone

RESNET = ResNetBackbone(stem_width=8, widths=(8, 16), depths=(1, 1))
BACKBONES = {"resnet": RESNET, "vit": VitBackbone(width=24, depth=2, n_heads=2)}


def network_of(backbone=RESNET):
    return build_network(backbone, n_channels=6, embedding_dim=12, trained_px=48, seed=0).eval()


def images_of(n_sites, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n_sites, 6, 48, 48)).astype(np.float32))


def planted(name, *, seconds, noise=0.0, **options):
    """A backend that takes planted seconds and whose vectors are wrong by a planted share."""

    def prepare(network, example):  # noqa: ARG001
        def forward(images):
            with torch.inference_mode():
                exact = network(images)
                return exact + noise * exact.std() * torch.randn(
                    exact.shape, generator=torch.Generator().manual_seed(1)
                )

        forward.seconds = seconds
        return forward

    return Backend(name, "fp32", prepare, **{"min_table_s": 0.0, **options})


def planted_seconds(forward, batch):
    """The timer: the seconds that were planted."""
    forward(batch)
    return forward.seconds


def choose(*backends, n_sites=1000):
    trial = Trial(network_of(), images_of(8), lambda: [images_of(16, 1), images_of(16, 2)], n_sites, planted_seconds)
    return trial.choose(planted(REFERENCE, seconds=1.0), backends)


def test_the_fastest_right_backend_is_taken_and_the_others_are_accounted_for():
    decision = choose(
        planted("slow", seconds=2.0),
        planted("right", seconds=0.25),
        planted("wrong", seconds=0.1, noise=0.1),
        planted("slower", seconds=0.5),
        planted("equal", seconds=0.95),
    )
    assert (decision.backend, decision.speed_ratio, decision.min_cosine) == ("right", 4.0, 1.0)
    assert set(decision.refused) == {"slow", "wrong", "slower", "equal"}
    assert "0.50 x torch-fp32, expected 1.1 x" in decision.refused["slow"]
    assert "10.00 x, but lowest centred cosine 0." in decision.refused["wrong"]
    assert decision.refused["slower"] == "2.00 x, slower than right"


@pytest.mark.parametrize(("noise", "is_taken"), [(1e-4, True), (0.2, False), (float("nan"), False)])
def test_vectors_that_differ_from_float32_are_refused(noise, is_taken):
    assert (choose(planted("fast", seconds=0.1, noise=noise)).backend == "fast") == is_taken


def test_a_short_table_is_not_worth_a_measurement():
    fast = planted("fast", seconds=0.1, min_table_s=60.0)
    decision = choose(fast, n_sites=8 * 59)
    assert (decision.backend, decision.speed_ratio) == (REFERENCE, None)
    assert decision.refused == {"fast": "the table takes about 59 s, it is tried from 60 s on"}
    assert choose(fast, n_sites=8 * 61).backend == "fast"


def test_what_is_missing_or_cannot_take_the_network_is_said():
    def fails(network, example):  # noqa: ARG001
        message = "no operator for this layer"
        raise RuntimeError(message)

    decision = choose(
        planted("absent", seconds=0.1, absence=lambda: "it is not installed"), Backend("failing", "fp32", fails, 0.0)
    )
    assert decision.backend == REFERENCE
    assert decision.refused["absent"] == "it is not installed"
    assert decision.refused["failing"] == "it cannot compute this network: RuntimeError: no operator for this layer"


def test_missing_packages_and_compilers_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(torch_backends.shutil, "which", lambda _: None)
    absences = {one.name: one.absence() for one in candidates("cpu")}
    assert "pip install 'cellassets[openvino]'" in absences["openvino-fp32"]
    assert "onnxruntime is not installed" in absences["onnxruntime-fp32"]
    assert torch_backends.compiler_absence(lambda _: None).startswith("there is no compiler")


@pytest.mark.parametrize("name", ["torch-bf16", "openvino-fp32", "onnxruntime-fp32"])
@pytest.mark.parametrize("family", BACKBONES)
def test_every_backend_gives_the_vectors_of_float32(name, family):
    backend = next(one for one in candidates("cpu") if one.name == name)
    if name != "torch-bf16" and backend.absence() is not None:
        pytest.skip(backend.absence())
    network, batch = network_of(BACKBONES[family]), images_of(4)
    exact, forward = (one.prepare(network, batch) for one in (reference("cpu"), backend))
    few = images_of(3, seed=7)  # a last batch is smaller than the one it was prepared for
    tolerance = {"rtol": 0, "atol": 0.05} if backend.precision == "bf16" else {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(forward(few).numpy(), exact(few).numpy(), **tolerance)
    assert min_centred_cosine(exact(batch).numpy(), forward(batch).numpy()) > (0.9 if "bf16" in name else 0.999999)


TELEMETRY = """
import sys
from cellassets.encoders.inference.openvino_backend import imported_openvino
imported_openvino()
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")], "it was imported"
"""


def test_openvino_is_imported_without_its_telemetry():
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    done = subprocess.run([sys.executable, "-c", TELEMETRY], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_blocks_in_flight_are_bounded_and_come_in_order():
    launched, fetched = [], []

    def launch(rows, images):
        launched.append(rows)
        return SimpleNamespace(result=lambda: fetched.append(rows) or images)

    for rows, _ in overlapped(((n, n * 10) for n in range(5)), launch, n_in_flight=2):
        assert len(launched) - len(fetched) <= 2
        assert rows == fetched[-1]
    assert fetched == launched == [0, 1, 2, 3, 4]
    assert Pending(torch.ones(1, 2)).result().tolist() == [[1, 1]]


def test_blocks_have_the_vectors_of_single_batches(models, store):
    encoder = NetworkEncoder(models["random.v1"])
    mean = np.full((store.n_sites, 6), 30, dtype=np.float32)
    std = np.full((store.n_sites, 6), 9, dtype=np.float32)
    blocks = store.blocks(7, indices=np.arange(20), n_threads=3, empty=encoder.empty_images)
    found = np.concatenate([vectors for _, vectors in encoder.embed_blocks(blocks, (mean, std))])
    plain = np.concatenate([encoder.embed(store.read(r), mean[r], std[r]) for r in np.split(np.arange(20), [7, 14])])
    np.testing.assert_array_equal(found, plain)


def test_a_recipe_can_ask_for_float32(models):
    encoder = NetworkEncoder(models["random.v1"])
    exact = encoder.spec.preprocessing.model_copy(update={"arithmetic": "fp32"})
    encoder.spec = encoder.spec.model_copy(update={"preprocessing": exact})
    decision = encoder.choose_backend(1000, lambda _: pytest.fail("nothing needs to be read"))
    assert (decision.backend, decision.refused) == (REFERENCE, {"others": "the recipe says arithmetic: fp32"})


def test_an_unknown_backend_is_refused_by_name(models):
    with pytest.raises(EncoderError, match="no backend 'tpu'; on this cpu there are torch-fp32, torch-bf16, openvino"):
        NetworkEncoder(models["random.v1"]).compute_in("tpu")
