import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cellassets.errors import TrainingError

SCREEN_PATH = Path(__file__).with_name("striped_screen.py")
_spec = importlib.util.spec_from_file_location("striped_screen", SCREEN_PATH)
screen = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(screen)


def trained(work_dir: Path, *, is_shuffled: bool = False, **changes):
    """The trained module, and the metrics of every epoch that was run."""
    curve = {}

    def on_epoch(epoch: int, metrics: dict[str, float]) -> None:
        curve[epoch] = dict(metrics)

    return screen.train(screen.recipe(**changes), work_dir, on_epoch, is_shuffled=is_shuffled), curve


def last(curve: dict[int, dict[str, float]]) -> dict[str, float]:
    return curve[max(curve)]


SUPCON_ALONE = {"cross_entropy_weight": 0, "metric_losses": [{"name": "supcon"}]}


@pytest.mark.parametrize("loss", [{}, {"cross_entropy_weight": 0.8, "arcface_weight": 0.2}, SUPCON_ALONE])
def test_planted_classes_are_learnt_and_recognised_in_a_held_out_experiment(tmp_path, loss):
    _, curve = trained(tmp_path, loss=loss)
    assert last(curve)["chance_accuracy"] == 0.25
    assert last(curve)["validation_accuracy"] > 0.8
    assert last(curve)["train_loss"] < curve[0]["train_loss"]


def test_nothing_is_recognised_when_labels_are_shuffled(tmp_path):
    _, curve = trained(tmp_path, is_shuffled=True)
    assert abs(last(curve)["validation_accuracy"] - 0.25) < 0.17, "three standard errors of 64 guesses"


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    runs = [trained(tmp_path / str(i), n_epochs=2, seed=seed)[0] for i, seed in enumerate((0, 0, 1))]
    first, again, other = (torch.cat([w.flatten() for w in run.state_dict().values()]) for run in runs)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_epochs_that_are_not_validated_report_no_accuracy(tmp_path):
    _, curve = trained(tmp_path, n_epochs=4, validate_every_n_epochs=2)
    assert ["validation_accuracy" in metrics for metrics in curve.values()] == [False, True, False, True]


def test_a_loss_that_is_not_finite_stops_training_with_advice(tmp_path):
    with pytest.raises(
        TrainingError, match=r"stripes: loss is .* in epoch 1, batch \d+: lower optimiser.learning_rate"
    ):
        trained(tmp_path, optimiser={"name": "sgd", "learning_rate": 1e20, "warmup_frac": 0})


def test_weights_that_the_last_step_of_an_epoch_spoils_are_not_kept(tmp_path, monkeypatch):
    """Every loss was finite before, and there may be no later one."""
    step = screen.PerturbationClassifier.training_step

    def spoil_last_step(module, batch, index):
        if module.current_epoch == 1 and index + 1 == int(module.trainer.num_training_batches):
            module.trainer.optimizers[0].param_groups[0]["lr"] = float("inf")
        return step(module, batch, index)

    monkeypatch.setattr(screen.PerturbationClassifier, "training_step", spoil_last_step)
    with pytest.raises(TrainingError, match=r"stripes: weights are not finite after epoch 2: lower optimiser.learning"):
        trained(tmp_path, n_epochs=2)
    assert [path.name.split("-")[1] for path in state_files(tmp_path)] == ["00001"], (
        "the next attempt has whole weights"
    )


@pytest.mark.parametrize("optimiser", [{"name": "sgd", "learning_rate": 0.05}, {"schedule": "cosine"}])
def test_the_other_optimisers_learn_too(tmp_path, optimiser):
    _, curve = trained(tmp_path, optimiser=optimiser)
    assert last(curve)["validation_accuracy"] > 0.5


def test_bf16_training_learns_too(tmp_path):
    _, curve = trained(tmp_path, precision="bf16-mixed")
    assert last(curve)["validation_accuracy"] > 0.6


@pytest.mark.slow
def test_a_killed_run_goes_on_after_its_last_epoch_to_the_very_same_weights(tmp_path):
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    command = [sys.executable, str(SCREEN_PATH), str(work_dir), "3"]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout.split() == ["0", "1", "2", "3"]
    assert killed.stderr == "", "nothing is printed"

    resumed, curve = trained(work_dir)
    assert list(curve) == [3, 4, 5], "the epoch that was not saved is run again, those before it are not"
    straight, _ = trained(tmp_path / "straight")
    for name, weight in straight.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_a_run_killed_after_its_last_epoch_still_knows_its_metrics(tmp_path):
    first, _ = trained(tmp_path, n_epochs=2)
    again, curve = trained(tmp_path, n_epochs=2)
    assert curve == {}
    assert again.metrics == first.metrics
    assert again.history == first.history
    assert [epoch["epoch"] for epoch in first.history] == [1, 2]
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


RANDOM_LAYERS = {
    "family": "zoo",
    "model_type": "convnext",
    "config": {"hidden_sizes": [8, 8], "depths": [1, 1], "num_stages": 2, "patch_size": 2, "drop_path_rate": 0.5},
}


def test_layers_that_draw_do_so_by_the_seed_and_after_a_kill_as_without_it(tmp_path):
    before = torch.get_rng_state()
    straight, _ = trained(tmp_path / "straight", backbone=RANDOM_LAYERS, n_epochs=3)
    assert torch.equal(torch.get_rng_state(), before), "others who draw in this process are not disturbed"
    trained(tmp_path / "cut", backbone=RANDOM_LAYERS, n_epochs=3)
    state_files(tmp_path / "cut")[-1].unlink()  # as left by a process that was killed in its third epoch
    torch.rand(7)
    again, curve = trained(tmp_path / "cut", backbone=RANDOM_LAYERS, n_epochs=3)
    assert list(curve) == [2]
    for name, weight in straight.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def state_files(work_dir: Path) -> list[Path]:
    return sorted((work_dir / "states").iterdir())


@pytest.mark.parametrize(("n_truncated", "first_epoch"), [(1, 2), (2, 0)])
def test_truncated_states_cost_epochs_and_nothing_else(tmp_path, caplog, n_truncated, first_epoch):
    straight, _ = trained(tmp_path / "straight", n_epochs=3)
    trained(tmp_path / "cut", n_epochs=3)
    for path in state_files(tmp_path / "cut")[-n_truncated:]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    again, curve = trained(tmp_path / "cut", n_epochs=3)
    assert list(curve) == list(range(first_epoch, 3))
    assert caplog.text.count("damaged") == n_truncated
    for name, weight in straight.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
