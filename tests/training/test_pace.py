"""What is measured of an epoch, and what is foretold of a training."""

import copy
import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from cellassets.training import estimate
from cellassets.training.batches import read_ahead
from cellassets.training.pace import Pace

_spec = importlib.util.spec_from_file_location("striped_screen", Path(__file__).with_name("striped_screen.py"))
screen = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(screen)


def test_an_epoch_is_measured_until_its_training_part_ends(monkeypatch):
    now = iter([100.0, 110.0, 130.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    pace = Pace()
    pace.begin()
    for _ in range(4):
        pace.trained(50)
        pace.waited(1.0)
    pace.end()  # at 130; later ends do not count
    pace.end()
    found = pace.measured()
    assert (found["sites_per_second"], found["data_wait_frac"]) == (pytest.approx(10.0), pytest.approx(0.2))
    assert 0.01 < found["peak_memory_gib"] < 1000


def test_the_next_epoch_begins_at_zero():
    pace = Pace()
    pace.trained(1000)
    pace.waited(1000.0)
    pace.begin()
    assert pace.measured()["sites_per_second"] == 0
    assert pace.measured()["data_wait_frac"] == 0


def waited(task_s: float, step_s: float) -> float:
    """How long a training with steps of some length waits for batches of some length, each read by one thread."""
    times = []
    for _ in read_ahead([lambda: time.sleep(task_s)] * 6, 1, on_wait=times.append):
        time.sleep(step_s)
    assert len(times) == 6
    return sum(times)


def test_slow_batches_are_waited_for_and_fast_ones_are_not():
    slow = waited(task_s=0.05, step_s=0.0)
    assert slow > 0.25
    assert waited(task_s=0.0, step_s=0.02) < slow / 2


def test_the_wait_for_a_batch_that_fails_is_counted_and_the_error_is_raised():
    def damaged():
        message = "damaged"
        raise ValueError(message)

    times = []
    with pytest.raises(ValueError, match="damaged"):
        list(read_ahead([damaged], 1, on_wait=times.append))
    assert len(times) == 1


class Clock:
    """Three seconds pass between two looks at it."""

    def __init__(self):
        self.now_s = 0.0

    def monotonic(self):
        self.now_s += 3.0
        return self.now_s


def test_an_estimate_counts_steps_and_held_out_batches_and_changes_nothing(monkeypatch):
    module, batches = screen.prepared(screen.recipe(n_epochs=6, validate_every_n_epochs=3), lambda *_: None)
    before, random = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    monkeypatch.setattr(estimate, "time", Clock())
    seconds = estimate.estimated_seconds(module, batches.train_dataloader(), batches.val_dataloader())
    assert seconds == 3.0 * (6 * 8 + 2 * 4), "128 sites to train on and 64 held out, in batches of 16"
    assert torch.equal(torch.get_rng_state(), random)
    for name, tensor in module.state_dict().items():
        assert np.array_equal(tensor, before[name]), name
