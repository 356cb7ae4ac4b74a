"""Trainings without labels on the striped screen: they learn, stop when they collapse, and continue to the bit."""

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cellassets.errors import TrainingError
from cellassets.training.estimate import estimated_seconds
from cellassets.training.label_free import reference_rows

SCREEN_PATH = Path(__file__).with_name("striped_screen.py")
_spec = importlib.util.spec_from_file_location("striped_screen", SCREEN_PATH)
screen = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(screen)

MASKED = {
    "backbone": {"family": "vit", "width": 32, "depth": 2, "n_heads": 2, "patch_px": 4},
    "objective": {"name": "masked_autoencoding", "mask_frac": 0.5, "decoder_dim": 32, "decoder_depth": 1}
    | {"decoder_n_heads": 2},
    "optimiser": {"learning_rate": 0.01},
    "n_epochs": 10,
}
DISTILLED = {
    "objective": {"name": "self_distillation", "n_prototypes": 256, "hidden_dim": 128, "bottleneck_dim": 64}
    | {"teacher_momentum": 0.95, "centre_momentum": 0.5, "n_local_crops": 2},
    "n_epochs": 8,
    "batch_size": 8,
}


def trained(work_dir: Path, **changes):
    curve = {}
    return screen.train(
        screen.recipe(**changes), work_dir, lambda epoch, metrics: curve.update({epoch: dict(metrics)})
    ), curve


@pytest.mark.slow
@pytest.mark.parametrize("changes", [MASKED, DISTILLED], ids=["masked", "distilled"])
def test_classes_appear_in_the_embedding_without_labels(tmp_path, changes):
    module, curve = trained(tmp_path, **changes)
    last = curve[max(curve)]
    assert last["train_loss"] < curve[0]["train_loss"]
    untrained = trained(tmp_path / "untrained", **changes | {"n_epochs": 1, "optimiser": {"learning_rate": 1e-12}})[1]
    assert last["validation_accuracy"] > max(2 * last["chance_accuracy"], 0.1 + untrained[0]["validation_accuracy"])
    assert np.isfinite(last["validation_loss"])
    names = {name.split(".")[0] for name in module.judged[0].state_dict()}
    assert names == {"backbone", "neck"}, "the model has no decoder and no head"


def test_labels_do_not_change_the_weights(tmp_path):
    """Neither of the network, nor of the teacher; only the accuracy is another one."""
    short = DISTILLED | {"n_epochs": 1}
    first, again = (
        screen.train(screen.recipe(**short), tmp_path / str(shuffled), lambda *_: None, is_shuffled=shuffled)
        for shuffled in (False, True)
    )
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    assert first.metrics["validation_loss"] == again.metrics["validation_loss"]
    assert first.metrics["validation_accuracy"] != again.metrics["validation_accuracy"]


def test_the_teacher_is_what_is_registered_and_it_is_not_the_student(tmp_path):
    module, curve = trained(tmp_path, **DISTILLED | {"n_epochs": 1, "early_stopping": None})
    teacher = module.judged[0]
    assert teacher is module.heads.teacher
    assert not torch.equal(teacher.neck[0].weight, module.network.neck[0].weight)
    assert int(module.heads.n_updates) == module.global_step == 16
    assert curve[0]["embedding_std"] > 0.1
    assert curve[0]["prototype_information"] > 0


@pytest.mark.slow
def test_a_collapse_ends_the_training_and_says_what_to_change(tmp_path):
    changes = DISTILLED | {"n_epochs": 7, "optimiser": {"name": "sgd", "learning_rate": 5.0, "warmup_frac": 0}}
    with pytest.raises(TrainingError, match=r"stripes: collapsed in epoch \d: .* is .* lower optimiser\.learning_rate"):
        trained(tmp_path, **changes)


EVERYTHING = [
    MASKED | {"optimiser": {"learning_rate": 0.01, "ema_decay": 0.9, "n_batches_per_step": 3}},
    DISTILLED | {"optimiser": {"learning_rate": 3e-3, "n_batches_per_step": 3, "max_gradient_norm": 3.0}},
]


@pytest.mark.slow
@pytest.mark.parametrize("changes", EVERYTHING, ids=["masked", "distilled"])
def test_a_killed_run_goes_on_to_the_very_same_weights(tmp_path, changes):
    changes = changes | {"n_epochs": 3, "early_stopping": {"metric": "validation_loss", "patience": 2}}
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    command = [sys.executable, str(SCREEN_PATH), str(work_dir), "1", json.dumps(changes)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed, curve = trained(work_dir, **changes)
    assert list(curve) == [1, 2]
    straight, _ = trained(tmp_path / "straight", **changes)
    for name, weight in straight.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    assert resumed.metrics == straight.metrics


def test_the_time_of_a_training_is_estimated_before_it_and_changes_nothing():
    module, batches = screen.prepared(screen.recipe(**DISTILLED | {"n_epochs": 1}), lambda *_: None)
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    assert estimated_seconds(module, batches.train_dataloader(), batches.val_dataloader()) > 0
    assert all(torch.equal(weight, before[name]) for name, weight in module.state_dict().items())


def test_class_centres_are_made_from_equally_many_sites_of_each_class():
    labels = np.array([0] * 9 + [-1] * 3 + [1] * 2 + [0, 2])
    assert reference_rows(labels, 0).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 14, 15]
    drawn = [reference_rows(labels, seed, n_most=6) for seed in range(60)]
    assert all(np.bincount(labels[rows]).tolist() == [3, 2, 1] for rows in drawn)
    assert {row for rows in drawn for row in rows} == set(range(16)) - {9, 10, 11}, "not always the first ones"
    assert labels[reference_rows(labels, 0, n_most=1)].tolist() == [0, 1, 2], "each class has one"
