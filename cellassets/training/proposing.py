"""The next variants of a Bayesian search, proposed by Optuna from the results of those that ended.

Input: what was proposed before, with its results. They are told to an Optuna study in memory, whose sampler proposes.
The caller keeps what was proposed: another version of Optuna would propose something else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cellassets.training.pruning import quiet_optuna
from cellassets.training.recipe import BayesianSearch
from cellassets.training.recipe.drawing import drawn, rounded, values_of
from cellassets.training.recipe.search import Parameter, Range

if TYPE_CHECKING:
    import optuna

N_ASKED = 20  # proposals of Optuna per variant, until one is new and valid; then values are drawn at random
N_DRAWN = 500


@dataclass(frozen=True)
class Tried:
    """A variant that was proposed before.

    Attributes:
        values: its values by key of the recipe.
        state: whether it still trains or waits, was trained to its end, was stopped as poor, or failed.
        curve: the metric by epoch, counted from 1; its last value is the result.
    """

    values: Mapping[str, Any]
    state: Literal["running", "trained", "stopped", "failed"]
    curve: Mapping[int, float] = field(default_factory=dict)


def propose(
    search: BayesianSearch, tried: Sequence[Tried], n: int, is_valid: Callable[[Mapping[str, Any]], bool]
) -> list[dict[str, Any]]:
    """Returns the values of at most `n` new variants; fewer if no other combination is found.

    Args:
        search: the search.
        tried: all variants so far, also those that still train: new ones keep a distance from them.
        n: how many are wanted.
        is_valid: whether values make a valid recipe; asked once for each.
    """
    import optuna

    with quiet_optuna():
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=search.n_random, seed=search.seed + len(tried), constant_liar=True
        )
        direction: Literal["minimize", "maximize"] = "minimize" if search.metric == "train_loss" else "maximize"
        study = optuna.create_study(direction=direction, sampler=sampler)
        for one in tried:
            _tell(study, search, one)
        refused = [dict(one.values) for one in tried]
        proposed: list[dict[str, Any]] = []
        for _ in range(n):
            values = _asked(search, study, refused, is_valid) or _drawn(search, refused, is_valid)
            if values is None:
                break
            refused.append(values)
            proposed.append(values)
        return proposed


def _asked(
    search: BayesianSearch,
    study: "optuna.Study",
    refused: list[dict[str, Any]],
    is_valid: Callable[[Mapping[str, Any]], bool],
) -> dict[str, Any] | None:
    """A proposal of Optuna. Its trial goes on, so that the next proposals keep a distance from it."""
    from optuna.trial import TrialState

    for _ in range(N_ASKED):
        trial = study.ask(_distributions(search))
        values = {key: _value(parameter, trial.params[key]) for key, parameter in search.parameters.items()}
        if values in refused:
            study.tell(trial, state=TrialState.FAIL)  # which the sampler ignores: its result is known
        elif is_valid(values):
            return values
        else:
            refused.append(values)
            study.tell(trial, state=TrialState.PRUNED)  # without a value, which is worse than any
    return None


def _drawn(
    search: BayesianSearch, refused: list[dict[str, Any]], is_valid: Callable[[Mapping[str, Any]], bool]
) -> dict[str, Any] | None:
    """Values at random."""
    for attempt in range(N_DRAWN):
        place = f"{search.seed}/{len(refused)}/{attempt}"
        values = {key: drawn(parameter, f"{place}/{key}") for key, parameter in search.parameters.items()}
        if values not in refused and is_valid(values):
            return values
    return None


def _distributions(search: BayesianSearch) -> "dict[str, optuna.distributions.BaseDistribution]":
    return {key: _distribution(parameter) for key, parameter in search.parameters.items()}


def _distribution(parameter: Parameter) -> "optuna.distributions.BaseDistribution":
    from optuna import distributions

    if not isinstance(parameter, Range):
        return distributions.CategoricalDistribution(range(len(values_of(parameter) or ())))
    is_log = parameter.scale == "log"
    if parameter.is_integer:
        step, values = int(parameter.step or 1), values_of(parameter) or (int(parameter.high),)
        return distributions.IntDistribution(int(parameter.low), int(values[-1]), log=is_log, step=step)
    high = parameter.high if parameter.step is None else (values_of(parameter) or (parameter.high,))[-1]
    return distributions.FloatDistribution(float(parameter.low), float(high), log=is_log, step=parameter.step)


def _value(parameter: Parameter, found: Any) -> Any:
    """The value that Optuna's choice stands for."""
    return rounded(found, parameter) if isinstance(parameter, Range) else (values_of(parameter) or ())[found]


def _choice(parameter: Parameter, value: Any) -> Any:
    """What Optuna calls a value."""
    return value if isinstance(parameter, Range) else (values_of(parameter) or ()).index(value)


def _tell(study: "optuna.Study", search: BayesianSearch, one: Tried) -> None:
    from optuna.trial import TrialState, create_trial

    state = TrialState.RUNNING if one.state == "running" else TrialState.PRUNED
    if one.state == "trained" and one.curve:
        state = TrialState.COMPLETE
    trial = create_trial(
        state=state,
        value=one.curve[max(one.curve)] if state == TrialState.COMPLETE else None,
        params={key: _choice(parameter, one.values[key]) for key, parameter in search.parameters.items()},
        distributions=_distributions(search),
        # without values, as of a variant that diverged, it is worse than any
        intermediate_values={} if one.state == "failed" else dict(one.curve),
    )
    study.add_trial(trial)
