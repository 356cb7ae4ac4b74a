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
    share_of_possible,
    standardised,
    upper_p_values,
)

Draws = Float[np.ndarray, "draw unit"]


@finite_arguments(BenchmarkError)
def unit_scores(
    metric: str,
    units: Sequence[str],
    draws: Draws,
    *,
    n_wells: Int[np.ndarray, "unit"],
    end: float = np.inf,
) -> list[Score]:
    """Returns one row per unit: its value, its own null distribution, p-value and q-value.

    q-values are corrected over the units (Benjamini and Hochberg).

    Args:
        metric: name of the statistic.
        units: names of the perturbations.
        draws: row 0 as observed, the others under permutations.
        n_wells: number of wells of each unit.
        end: the value at the end of the metric's scale, for effect sizes; infinite: the scale has no end.
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
            z_score=standardised(float(observed[number]), null[:, number]),
            effect_size=share_of_possible(float(observed[number]), float(null[:, number].mean()), end),
        )
        for number, unit in enumerate(units)
    ]


@finite_arguments(BenchmarkError)
def summary_score(
    metric: str, mean: Mean, draws: Draws, *, within: tuple[float, float], end: float | None = None
) -> Score:
    """Returns the row of a mean over units, judged by permutations of all labels at once.

    Args:
        metric: name of the statistic.
        mean: of the statistic over units.
        draws: row 0 as observed, the others under joint permutations, so that what units share (wells, controls,
            plates) is shared in the null distribution too. Its units may be a random part of all units.
        within: the range of the statistic.
        end: the value at the end of its scale, for the effect size; None: the largest of the range.
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
        z_score=standardised(float(means[0]), means[1:]),
        effect_size=share_of_possible(mean.value, float(means[1:].mean()), within[1] if end is None else end),
    )


@finite_arguments(BenchmarkError)
def below_chance(metric: str, headline: Score, means: Float[np.ndarray, "draw"]) -> Score:
    """Returns the row that says by how much a headline is below the mean of its null distribution.

    Its p-value is the lower tail of the headline's draws, +1 rule.

    Args:
        metric: name of the row.
        headline: the row of the headline.
        means: of each draw, row 0 as observed; ties may be broken.
    """
    settled = settled_ties(-means[:, None])
    has_interval = headline.interval_low is not None and headline.interval_high is not None
    return Score(
        metric,
        level="summary",
        value=headline.null_mean - headline.value,
        null_mean=0.0,
        null_low=headline.null_mean - headline.null_high,
        null_high=headline.null_mean - headline.null_low,
        p_value=float(upper_p_values(settled[0], settled[1:])[0]),
        interval_low=headline.null_mean - float(headline.interval_high or 0.0) if has_interval else None,
        interval_high=headline.null_mean - float(headline.interval_low or 0.0) if has_interval else None,
        n_units=headline.n_units,
        unit=headline.unit,
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
