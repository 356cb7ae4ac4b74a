"""Whether a variant of a search is poor, by a rule of its recipe file, as Optuna's pruners decide it.

Input: the curve of the variant and those of its siblings, the other variants of the search. They are told to an Optuna
study in memory, whose pruner answers. Nothing is stored by Optuna. The epoch is Optuna's step.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cellassets.configuration import Parameters
from cellassets.training.recipe import JudgedBy, StopRule
from cellassets.training.recipe.search import HalvingRule, MedianRule, PercentileRule, ThresholdRule

if TYPE_CHECKING:
    import optuna

SiblingState = Literal["running", "trained", "stopped", "failed"]
MEDIAN = 50.0


@dataclass(frozen=True)
class Sibling:
    """Another variant of the search.

    Attributes:
        name: its name.
        state: whether it still trains or waits, was trained to its end, was stopped as poor, or failed.
        curve: the metric by epoch, counted from 1.
    """

    name: str
    state: SiblingState
    curve: Mapping[int, float]


class StopDecision(Parameters):
    """Why a variant was stopped.

    Attributes:
        rule: the rule.
        metric: what was compared.
        epoch: after how many epochs.
        value: what the variant had reached: its best value so far for `median` and `percentile`, else the value at this
            epoch.
        compared_with: the value that was needed to go on.
        n_siblings: how many variants it was compared with.
    """

    rule: str
    metric: str
    epoch: int
    value: float
    compared_with: float
    n_siblings: int

    def in_words(self) -> str:
        """Returns the decision for people."""
        against = f" of {self.n_siblings} variants" if self.n_siblings else ""
        return (
            f"stopped after epoch {self.epoch} by the rule {self.rule}: {self.metric} {self.value:.4g}, needed "
            f"{self.compared_with:.4g}{against}"
        )


def stop_decision(
    rule: StopRule, metric: JudgedBy, curve: Mapping[int, float], siblings: Sequence[Sibling]
) -> StopDecision | None:
    """Returns why a variant is stopped after the last epoch of its curve; None if it goes on.

    Args:
        rule: how it is decided.
        metric: what is compared; a loss should be small, everything else large.
        curve: the metric of the variant by epoch, counted from 1.
        siblings: the other variants. Those without a value yet do not count.
    """
    import optuna

    is_loss = metric == "train_loss"
    known = [sibling for sibling in siblings if sibling.curve]
    with quiet_optuna():
        study = optuna.create_study(
            direction="minimize" if is_loss else "maximize",
            pruner=_pruner(rule, is_loss=is_loss),
            sampler=optuna.samplers.RandomSampler(seed=0),
        )
        for sibling in known:
            _tell(study, sibling, asks=isinstance(rule, HalvingRule))
        own = study.ask()
        if not _report(own, curve, asks=True):
            return None
    value, needed, n_siblings = _comparison(rule, curve, known, study, is_loss=is_loss)
    return StopDecision(
        rule=rule.rule,
        metric=metric,
        epoch=max(curve),
        value=value,
        compared_with=needed,
        n_siblings=n_siblings,
    )


class quiet_optuna:  # noqa: N801  used like a function
    """Silences Optuna's messages about each study and trial while a block runs."""

    def __enter__(self) -> None:
        self._logger = logging.getLogger("optuna")
        self._level = self._logger.level
        self._logger.setLevel(logging.WARNING)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)


def _pruner(rule: StopRule, *, is_loss: bool) -> "optuna.pruners.BasePruner":
    from optuna import pruners

    match rule:
        case MedianRule():
            return pruners.MedianPruner(rule.n_siblings, rule.after_epochs)
        case PercentileRule():
            return pruners.PercentilePruner(rule.percentile, rule.n_siblings, rule.after_epochs)
        case HalvingRule():
            return pruners.SuccessiveHalvingPruner(rule.after_epochs, rule.keep_one_of)
        case ThresholdRule():
            worst = rule.worse_than
            lower, upper = (None, worst) if is_loss else (worst, None)
            return pruners.ThresholdPruner(lower=lower, upper=upper, n_warmup_steps=rule.after_epochs)


def _tell(study: "optuna.Study", sibling: Sibling, *, asks: bool) -> None:
    from optuna.trial import TrialState

    trial = study.ask()
    _report(trial, sibling.curve, asks=asks)
    if sibling.state == "trained":
        study.tell(trial, sibling.curve[max(sibling.curve)])
    elif sibling.state != "running":
        study.tell(trial, state=TrialState.PRUNED if sibling.state == "stopped" else TrialState.FAIL)


def _report(trial: "optuna.Trial", curve: Mapping[int, float], *, asks: bool) -> bool:
    """Reports a curve; returns what the pruner answers at its end. Halving notes something at every answer."""
    answer = False
    for epoch in sorted(curve):
        trial.report(curve[epoch], epoch)
        answer = asks and bool(trial.should_prune())
    return answer


def _comparison(
    rule: StopRule, curve: Mapping[int, float], siblings: Sequence[Sibling], study: "optuna.Study", *, is_loss: bool
) -> tuple[float, float, int]:
    """The value of a stopped variant, the value that it needed, and the number of siblings that this is from."""
    import numpy as np

    epoch = max(curve)
    if isinstance(rule, ThresholdRule):
        return curve[epoch], rule.worse_than, 0
    if isinstance(rule, HalvingRule):
        others, own = _rung_values(study)
        ranked = sorted([*others, own], reverse=not is_loss)
        return curve[epoch], ranked[max(len(ranked) // rule.keep_one_of, 1) - 1], len(others)
    share = rule.percentile if isinstance(rule, PercentileRule) else MEDIAN
    values = [one.curve[epoch] for one in siblings if one.state == "trained" and epoch in one.curve]
    best = min(curve.values()) if is_loss else max(curve.values())
    return best, float(np.nanpercentile(values, share if is_loss else 100 - share)), len(values)


def _rung_values(study: "optuna.Study") -> tuple[list[float], float]:
    """What the other trials reached at the last comparison of the last trial, and what it reached itself."""
    *others, own = study.get_trials(deepcopy=False)
    last = max(key for key in own.system_attrs if key.startswith("completed_rung_"))
    return [one.system_attrs[last] for one in others if last in one.system_attrs], own.system_attrs[last]
