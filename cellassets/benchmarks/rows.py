"""Rows of scores from statistics and their null distributions, as most benchmarks return them.

A null distribution is a matrix of draws x units. Row 0 is the observed statistic, so that every later step treats
observed and permuted statistics alike.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from cellassets.benchmarks.definition import Influence, Score
from cellassets.errors import BenchmarkError
from cellassets.finite import finite_arguments
from cellassets.statistics.permutation import (
    Mean,
    benjamini_hochberg,
    central,
    settled_ties,
    standardised,
    upper_p_values,
)

Draws = Float[np.ndarray, "draw unit"]


@finite_arguments(BenchmarkError)
def unit_scores(metric: str, units: Sequence[str], draws: Draws, *, n_wells: Int[np.ndarray, "unit"]) -> list[Score]:
    """Returns one row per unit: its value, its own null distribution, p-value and q-value.

    q-values are corrected over the units (Benjamini and Hochberg).

    Args:
        metric: name of the statistic.
        units: names of the perturbations.
        draws: row 0 as observed, the others under permutations.
        n_wells: number of wells of each unit.
    """
    draws = settled_ties(draws)
    observed, null = draws[0], draws[1:]
    p_values = upper_p_values(observed, null)
    q_values = benjamini_hochberg(p_values)
    low, high = np.quantile(null, [0.025, 0.975], axis=0)
    return [
        Score(
            metric,
            level="perturbation",
            perturbation_id=unit,
            value=float(observed[number]),
            null_mean=float(null[:, number].mean()),
            null_low=float(low[number]),
            null_high=float(high[number]),
            p_value=float(p_values[number]),
            q_value=float(q_values[number]),
            correction="benjamini_hochberg",
            n_units=int(n_wells[number]),
            unit="well",
            effect_size=standardised(float(observed[number]), null[:, number]),
        )
        for number, unit in enumerate(units)
    ]


@finite_arguments(BenchmarkError)
def summary_score(metric: str, mean: Mean, draws: Draws, *, within: tuple[float, float]) -> Score:
    """Returns the row of a mean over units, judged by permutations of all labels at once.

    Args:
        metric: name of the statistic.
        mean: of the statistic over units.
        draws: row 0 as observed, the others under joint permutations, so that what units share (wells, controls,
            plates) is shared in the null distribution too. Its units may be a random part of all units.
        within: the range of the statistic.
    """
    means = settled_ties(draws.mean(axis=1)[:, None])[:, 0]
    low, high = mean.interval(within=within)
    null_low, null_high = central(means[1:])
    return Score(
        metric,
        level="summary",
        value=mean.value,
        null_mean=float(means[1:].mean()),
        null_low=null_low,
        null_high=null_high,
        p_value=float(upper_p_values(means[:1], means[1:, None])[0]),
        interval_low=low,
        interval_high=high,
        n_units=mean.n_units,
        unit="perturbation",
        effect_size=standardised(float(means[0]), means[1:]),
    )


@finite_arguments(BenchmarkError, influences=("shared", "influence of"))
def influences_of(metric: str, shared: Sequence[str], influences: Float[np.ndarray, "shared"]) -> list[Influence]:
    """Returns one row per control well (or other thing) that the units share.

    Args:
        metric: the statistic whose mean would fall.
        shared: control wells, or perturbations that the others are compared with.
        influences: by how much the mean would fall without each.
    """
    return [
        Influence(metric, shared_id, float(influence)) for shared_id, influence in zip(shared, influences, strict=True)
    ]
