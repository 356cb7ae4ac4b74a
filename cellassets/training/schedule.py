"""The learning rate of every step, as a factor of the recipe's learning rate."""

import math

from cellassets.training.recipe import OptimiserParameters

ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1e-4 / 25


def learning_rate_factor(step: int, n_steps: int, optimiser: OptimiserParameters) -> float:
    """Returns the factor on the learning rate at `step`, counted from 0.

    Both schedules rise during `warmup_frac` of the steps and then fall along half a cosine. `cosine` rises linearly
    from 0 and ends at 0. `one_cycle` rises along a cosine from 1/25 and ends at a ten-thousandth of its start.

    Source: Loshchilov & Hutter 2017 (SGDR) without restarts; Smith & Topin 2018 with the cosine form and the default
    divisors (25 and 1e4) of torch.optim.lr_scheduler.OneCycleLR.
    """
    n_warmup = optimiser.warmup_frac * n_steps
    is_one_cycle = optimiser.schedule == "one_cycle"
    if step < n_warmup:
        done = (step + 1) / (n_warmup + 1)
        return _half_cosine(ONE_CYCLE_START, 1.0, done) if is_one_cycle else done
    done = min(1.0, (step - n_warmup) / max(1.0, n_steps - 1 - n_warmup))
    return _half_cosine(1.0, ONE_CYCLE_END if is_one_cycle else 0.0, done)


def _half_cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
