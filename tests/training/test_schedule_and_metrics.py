import numpy as np
import pytest

from cellassets.training.metrics import balanced_accuracy, validation_metrics
from cellassets.training.recipe import OptimiserParameters
from cellassets.training.schedule import learning_rate_factor


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
def test_the_learning_rate_rises_to_the_recipes_and_falls_to_nothing(schedule):
    optimiser = OptimiserParameters(schedule=schedule, warmup_frac=0.2)
    factors = np.array([learning_rate_factor(step, 100, optimiser) for step in range(100)])
    assert factors[20] == 1.0
    assert (np.diff(factors[:21]) > 0).all()
    assert (np.diff(factors[20:]) < 0).all()
    assert factors[-1] < 1e-5
    assert 0 < factors[0] < 0.1


def test_without_warm_up_the_first_step_is_the_largest():
    optimiser = OptimiserParameters(schedule="cosine", warmup_frac=0)
    assert learning_rate_factor(0, 10, optimiser) == 1.0
    assert learning_rate_factor(0, 1, optimiser) == 1.0


def test_balanced_accuracy_is_the_mean_of_the_classes_recalls():
    labels, predicted = np.array([0, 0, 0, 0, 2, 2]), np.array([0, 0, 0, 2, 2, 0])
    assert balanced_accuracy(labels, predicted) == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_always_guessing_the_frequent_class_earns_chance():
    labels = np.array([0] * 90 + [1] * 5 + [2] * 5)
    metrics = validation_metrics(labels, np.zeros(100, dtype=int), batches=np.zeros(100, dtype=int), names=["E"])
    assert metrics["validation_accuracy"] == pytest.approx(1 / 3)
    assert metrics["chance_accuracy"] == pytest.approx(1 / 3)
    assert metrics["validation_top1"] == pytest.approx(0.9)


def test_each_held_out_experiment_has_its_own_accuracy_and_chance():
    labels, predicted = np.array([0, 1, 0, 1, 2]), np.array([0, 1, 1, 0, 2])
    metrics = validation_metrics(labels, predicted, batches=np.array([0, 0, 1, 1, 1]), names=["E", "F"])
    assert (metrics["validation_accuracy/E"], metrics["chance_accuracy/E"]) == (1.0, 0.5)
    assert metrics["validation_accuracy/F"] == pytest.approx(1 / 3)
    assert metrics["chance_accuracy/F"] == pytest.approx(1 / 3)
