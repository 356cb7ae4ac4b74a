"""The rules by which poor variants are stopped: what Optuna's own study decides, kept once, and never by a guess."""

import numpy as np
import optuna
import pytest
from upath import UPath

from cellassets.errors import RegistryError
from cellassets.training.attempts import Attempt
from cellassets.training.poor_variant import PoorVariant
from cellassets.training.pruning import Sibling, stop_decision
from cellassets.training.recipe.search import HalvingRule, MedianRule, PercentileRule, ThresholdRule

N_EPOCHS = 9
RULES = {
    "median": (MedianRule(after_epochs=3, n_siblings=2), optuna.pruners.MedianPruner(2, 3)),
    "percentile": (
        PercentileRule(percentile=25, after_epochs=2, n_siblings=3),
        optuna.pruners.PercentilePruner(25, 3, 2),
    ),
    "successive_halving": (
        HalvingRule(after_epochs=1, keep_one_of=3),
        optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    ),
    "threshold": (
        ThresholdRule(worse_than=0.35, after_epochs=4),
        optuna.pruners.ThresholdPruner(lower=0.35, n_warmup_steps=4),
    ),
}


def planted_curves(n: int) -> list[dict[int, float]]:
    """Curves that rise to different heights, with noise, so that their order changes on the way."""
    generator = np.random.default_rng(3)
    heights, noise = generator.permutation(np.linspace(0.3, 1, n)), generator.normal(0, 0.05, (n, N_EPOCHS))
    return [
        {epoch: float(heights[k] * (1 - np.exp(-epoch / 3)) + noise[k, epoch - 1]) for epoch in range(1, N_EPOCHS + 1)}
        for k in range(n)
    ]


@pytest.mark.parametrize("name", RULES)
def test_variants_one_after_the_other_are_stopped_where_a_study_of_optuna_stops_them(name):
    rule, pruner = RULES[name]
    study, siblings, found, expected = optuna.create_study(direction="maximize", pruner=pruner), [], [], []
    for number, curve in enumerate(planted_curves(12)):
        trial, own = study.ask(), {}
        for epoch, value in curve.items():
            trial.report(value, epoch)
            if trial.should_prune():
                break
        expected.append(epoch)
        is_pruned = epoch < N_EPOCHS or trial.should_prune()
        study.tell(trial, None if is_pruned else value, state=optuna.trial.TrialState.PRUNED if is_pruned else None)

        decision = None
        for epoch, value in curve.items():
            own[epoch] = value
            decision = stop_decision(rule, "validation_accuracy", own, siblings)
            if decision is not None:
                assert decision.value < decision.compared_with
                break
        found.append(epoch)
        siblings.append(Sibling(f"s{number}", "trained" if decision is None else "stopped", own))
    assert found == expected
    assert 0 < sum(epoch < N_EPOCHS for epoch in found) < len(found), "some are stopped and some are not"


def test_a_loss_is_poor_where_it_is_large():
    siblings = [Sibling(name, "trained", {1: 2.0, 2: 1.0}) for name in "abc"]
    rule = MedianRule(after_epochs=2)
    decision = stop_decision(rule, "train_loss", {1: 3.0, 2: 1.5}, siblings)
    assert (decision.epoch, decision.value, decision.compared_with, decision.n_siblings) == (2, 1.5, 1.0, 3)
    assert stop_decision(rule, "train_loss", {1: 3.0, 2: 0.5}, siblings) is None


def history(*values: float) -> list[dict[str, float]]:
    return [{"epoch": float(n), "validation_accuracy": value} for n, value in enumerate(values, start=1)]


GOOD = [Sibling(name, "trained", {1: 0.5, 2: 0.6, 3: 0.7}) for name in "abc"]


def test_a_decision_is_kept_for_the_next_process_whatever_the_siblings_are_then(tmp_path):
    folder = UPath(tmp_path / "training")
    first = PoorVariant(MedianRule(after_epochs=2), "validation_accuracy", Attempt.begin(folder), lambda: GOOD)
    assert first.ends_after(history(0.1)) is None
    decision = first.ends_after(history(0.1, 0.2))
    assert "stopped after epoch 2 by the rule median: validation_accuracy 0.2, needed 0.6 of 3" in decision.in_words()

    def worse():
        return [Sibling(name, "trained", {1: 0.01, 2: 0.01}) for name in "abc"]

    # killed before its state was saved: the next process trains the epoch again
    second = PoorVariant(MedianRule(after_epochs=2), "validation_accuracy", Attempt.begin(folder), worse)
    assert second.decided() == decision
    assert second.ends_after(history(0.1)) is None
    assert second.ends_after(history(0.1, 0.2)) == decision


def test_without_mlflow_the_training_goes_on_and_says_so(tmp_path, caplog):
    def nobody():
        raise RegistryError("no answer")

    poor = PoorVariant(MedianRule(), "validation_accuracy", Attempt.begin(UPath(tmp_path / "training")), nobody)
    assert poor.ends_after(history(0.1)) is None
    assert poor.ends_after([*history(0.1), {"epoch": 2.0, "train_loss": 1.0}]) is None, "no validation, no question"
    assert poor.not_compared == [1]
    assert "not compared with other variants after epoch 1, the training goes on: no answer" in caplog.text
