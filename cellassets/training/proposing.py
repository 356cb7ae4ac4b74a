"""The next variants of a Bayesian search, proposed by Optuna from the results of those that ended.

Input: what was proposed before, with its results. They are told to an Optuna study in memory, whose sampler proposes.
The caller keeps what was proposed: another version of Optuna would propose something else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cellassets.training.pruning import quiet_optuna
from cellassets.training.recipe import BayesianSearch
from cellassets.training.recipe.drawing import rounded, values_of
from cellassets.training.recipe.search import Parameter, Range

if TYPE_CHECKING:
    import optuna

N_TRIES = 200  # per variant, until a proposal is new and valid


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
        is_valid: whether values make a valid recipe. Other proposals are told to Optuna as failed.
    """
    import optuna

    with quiet_optuna():
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=search.n_random, seed=search.seed + len(tried), constant_liar=True
        )
        direction = "minimize" if search.metric == "train_loss" else "maximize"
        study = optuna.create_study(direction=direction, sampler=sampler)
        for one in tried:
            _tell(study, search, one)
        known = [dict(one.values) for one in tried]
        proposed: list[dict[str, Any]] = []
        for _ in range(n * N_TRIES):
            if len(proposed) == n:
                break
            trial = study.ask(_distributions(search))
            values = {key: _value(parameter, trial.params[key]) for key, parameter in search.parameters.items()}
            if values in known:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                continue
            known.append(values)
            if is_valid(values):
                proposed.append(values)  # its trial goes on: the next proposal keeps a distance from it
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return proposed


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

    states = {
        "running": TrialState.RUNNING,
        "trained": TrialState.COMPLETE,
        "stopped": TrialState.PRUNED,
        "failed": TrialState.FAIL,
    }
    state = states[one.state] if one.curve or one.state in ("running", "failed") else TrialState.FAIL
    trial = create_trial(
        state=state,
        value=one.curve[max(one.curve)] if state == TrialState.COMPLETE else None,
        params={key: _choice(parameter, one.values[key]) for key, parameter in search.parameters.items()},
        distributions=_distributions(search),
        intermediate_values=dict(one.curve),
    )
    study.add_trial(trial)
