"""Numbers of a fixed small training, held beside the code version of the stage `checkpoint`."""

import importlib.util
from pathlib import Path

import pytest

from cellassets.stages.checkpoint import CODE_VERSION

_spec = importlib.util.spec_from_file_location("striped_screen", Path(__file__).with_name("striped_screen.py"))
screen = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(screen)

GOLDEN_CODE_VERSION = "1"
GOLDEN = {
    "cross-entropy": {"train_loss": 1.2497706, "neck_norm": 1.6613649},
    "with ArcFace": {"train_loss": 4.9370395, "neck_norm": 1.6534592},
}
LOSSES = {"cross-entropy": {}, "with ArcFace": {"cross_entropy_weight": 0.5, "arcface_weight": 0.5}}
TOLERANCE = 1e-4  # relative; sums have other last digits on another processor
ADVICE = (
    "training gives other numbers than code version {version}. If this is intended, raise CODE_VERSION of the stage "
    "`checkpoint` so that checkpoints are trained again, and write the new numbers and the new version here"
)


def on_epoch(epoch, metrics):
    pass


@pytest.mark.parametrize("name", GOLDEN)
def test_training_gives_the_numbers_of_its_code_version(tmp_path, name):
    module = screen.train(screen.recipe(n_epochs=1, loss=LOSSES[name]), tmp_path, on_epoch)
    found = {
        "train_loss": module.metrics["train_loss"],
        "neck_norm": float(module.network.neck[0].weight.detach().norm()),
    }
    assert GOLDEN_CODE_VERSION == CODE_VERSION, ADVICE.format(version=GOLDEN_CODE_VERSION)
    assert found == pytest.approx(GOLDEN[name], rel=TOLERANCE), ADVICE.format(version=CODE_VERSION)
