"""Averaged weights, accumulated and clipped gradients, and early stopping, on the striped screen."""

import dataclasses
import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from cellassets.training.averaging import MovingAverage
from cellassets.training.backbone import EmbeddingNetwork, build_network, seeded
from cellassets.training.batches import normalised
from cellassets.training.losses import Heads
from cellassets.training.recipe import EarlyStopping, LossParameters, ResNetBackbone
from cellassets.training.schedule import learning_rate_factor
from cellassets.training.stopping import Patience

SCREEN_PATH = Path(__file__).with_name("striped_screen.py")
_spec = importlib.util.spec_from_file_location("striped_screen", SCREEN_PATH)
screen = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(screen)

EVERYTHING = {
    "n_epochs": 3,
    "n_sites_per_class": 2,
    "sampling": "one_experiment",
    "augmentation": {"crop_px": 24, "channel_dropout_frac": 0.2, "mix": {"kind": "cutmix"}},
    "optimiser": {"learning_rate": 3e-3, "ema_decay": 0.9, "n_batches_per_step": 3, "max_gradient_norm": 1.0},
    "early_stopping": {"metric": "train_loss", "patience": 2},
}


def trained(work_dir: Path, **changes):
    curve = {}
    return screen.train(
        screen.recipe(**changes), work_dir, lambda epoch, metrics: curve.update({epoch: dict(metrics)})
    ), curve


def weights_of(module: nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten().float() for weight in module.state_dict().values()])


def test_the_average_is_that_of_the_formula():
    backbone = ResNetBackbone(stem_width=4, widths=(4,), depths=(1,))
    network = build_network(backbone, n_channels=1, embedding_dim=2, trained_px=16, seed=0)
    heads = Heads(LossParameters(), embedding_dim=2, n_classes=2)
    average, expected = MovingAverage(network, heads, decay=0.3), network.neck[0].weight.detach().clone()
    for n in range(4):
        with torch.no_grad():
            network.neck[0].weight += 1 + n
            network.neck[1].num_batches_tracked += 1
        average.update(network, heads)
        decay = min(0.3, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * network.neck[0].weight.detach()
    torch.testing.assert_close(average.network.neck[0].weight, expected)
    assert average.network.neck[1].num_batches_tracked == 4, "counters are copied"


def test_the_average_follows_each_step_and_does_not_change_the_training(tmp_path):
    plain, _ = trained(tmp_path / "plain", n_epochs=1)
    averaged, curve = trained(tmp_path / "averaged", n_epochs=1, optimiser={"learning_rate": 3e-3, "ema_decay": 0.9})
    assert torch.equal(weights_of(plain.network), weights_of(averaged.network))
    assert int(averaged.average.n_updates) == 8, "128 sites in batches of 16"
    assert averaged.judged[0] is averaged.average.network
    assert not torch.equal(weights_of(averaged.judged[0]), weights_of(averaged.network))
    assert curve[0]["validation_accuracy"] >= 0


class Plain(EmbeddingNetwork):
    """A network without batch normalisation: the mean grey levels of the channels, through one layer."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.layer = nn.Linear(2, 8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.mean(dim=(2, 3)))


@pytest.mark.parametrize(("n_batches_per_step", "n_steps"), [(2, 4), (3, 3)])
def test_accumulated_steps_are_those_of_larger_batches_also_the_last_one(
    tmp_path, monkeypatch, n_batches_per_step, n_steps
):
    torch.manual_seed(0)
    start, by_hand = Plain(), Plain()
    by_hand.load_state_dict(start.state_dict())
    monkeypatch.setattr(screen, "build_network", lambda *_, **__: start)
    optimiser = {"name": "sgd", "learning_rate": 0.1, "weight_decay": 0, "n_batches_per_step": n_batches_per_step}
    module, _ = trained(tmp_path, n_epochs=1, optimiser=optimiser)
    assert module.global_step == n_steps, "8 batches of 16 sites"
    train_by_hand(by_hand, module, n_batches_per_step)
    torch.testing.assert_close(module.network.layer.weight, by_hand.layer.weight, rtol=1e-4, atol=1e-6)


def train_by_hand(network: Plain, module, n_batches_per_step: int) -> None:
    """Trains by steps whose gradient is computed on all their sites at once."""
    with seeded(module.recipe.seed):
        heads = Heads(module.recipe.loss, embedding_dim=8, n_classes=screen.N_CLASSES)
    batches = list(dataclasses.replace(module.trainer.datamodule.train_dataloader(), epoch=0))
    optimiser = torch.optim.SGD([*network.parameters(), *heads.parameters()], lr=0.1, momentum=0.9, nesterov=True)
    for step, first in enumerate(range(0, len(batches), n_batches_per_step)):
        together = batches[first : first + n_batches_per_step]
        images, labels = (
            torch.cat(parts) for parts in zip(*((normalised(b), b.labels) for b in together), strict=True)
        )
        optimiser.param_groups[0]["lr"] = 0.1 * learning_rate_factor(step, module.n_steps, module.recipe.optimiser)
        optimiser.zero_grad()
        heads.loss(network(images), labels).backward()
        optimiser.step()


def test_a_clipped_gradient_moves_the_weights_less(tmp_path):
    def moved(**optimiser):
        chosen = {"name": "sgd", "learning_rate": 0.1, "weight_decay": 0, **optimiser}
        module, _ = trained(tmp_path / str(len(optimiser)), n_epochs=1, optimiser=chosen)
        start = build_network(module.recipe.backbone, n_channels=2, embedding_dim=8, trained_px=24, seed=0)
        pairs = zip(module.network.parameters(), start.parameters(), strict=True)
        return sum(float((a - b).detach().norm() ** 2) for a, b in pairs) ** 0.5

    # 8 steps of at most 0.1 each, times 1 / (1 - momentum)
    assert moved(max_gradient_norm=1e-3) < 8 * 0.1 * 1e-3 * 10 < moved()


def test_patience_counts_validations_since_the_best_one():
    patience = Patience(EarlyStopping(metric="validation_accuracy", patience=2))
    over = []
    for value in (0.2, 0.3, 0.3, 0.4, 0.1, 0.4):
        patience.add({"validation_accuracy": value})
        over.append(patience.is_over)
    assert over == [False, False, False, False, False, True]
    falling = Patience(EarlyStopping(metric="train_loss", patience=1))
    falling.add({"train_loss": 2.0})
    falling.add({"train_loss": 1.0})
    assert not falling.is_over


def test_a_training_that_does_not_improve_ends_early_and_stays_ended(tmp_path):
    options = {
        "n_epochs": 6,
        "optimiser": {"name": "sgd", "learning_rate": 1e-12},
        "early_stopping": {"metric": "validation_top1", "patience": 2},
    }
    first, curve = trained(tmp_path, **options)
    assert max(curve) < 5
    assert first.metrics["n_epochs"] == len(curve)
    again, nothing = trained(tmp_path, **options)
    assert nothing == {}, "a later process does not go on"
    assert again.metrics == first.metrics
    assert torch.equal(weights_of(again), weights_of(first))


@pytest.mark.slow
def test_a_killed_run_with_everything_goes_on_to_the_very_same_weights(tmp_path):
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    command = [sys.executable, str(SCREEN_PATH), str(work_dir), "1", json.dumps(EVERYTHING)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed, curve = trained(work_dir, **EVERYTHING)
    assert list(curve) == [1, 2]
    straight, _ = trained(tmp_path / "straight", **EVERYTHING)
    for name, weight in straight.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    assert resumed.patience.state() == straight.patience.state()
