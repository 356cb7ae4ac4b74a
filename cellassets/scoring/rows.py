"""Scores from observed statistics and their nulls: the rows that consistency and magnitude have in common."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from cellassets.scoring.definition import Score
from cellassets.scoring.statistics import (
    benjamini_hochberg,
    bootstrap_means,
    interval,
    null_percentiles,
    upper_p_values,
)


def unit_scores(
    metric: str,
    units: Sequence[str],
    observed: Float[np.ndarray, "unit"],
    null: Float[np.ndarray, "draw unit"],
    *,
    n_wells: Int[np.ndarray, "unit"],
) -> list[Score]:
    """Returns two rows a unit: its statistic, and the share of its null that lies below (metric `_percentile`)."""
    p_values = upper_p_values(observed, null)
    q_values = benjamini_hochberg(p_values)
    low, high = np.quantile(null, [0.025, 0.975], axis=0)
    percentiles = null_percentiles(np.vstack([observed, null]))[0]
    rows = []
    for number, unit in enumerate(units):
        row = Score(
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
        )
        place = float(percentiles[number])
        percentile = f"{metric}_percentile"
        rows += [row, replace(row, metric=percentile, value=place, null_mean=0.5, null_low=0.025, null_high=0.975)]
    return rows


def summary_scores(
    metric: str,
    observed: Float[np.ndarray, "unit"],
    null: Float[np.ndarray, "draw unit"],
    *,
    n_resamples: int,
    seed: int,
) -> list[Score]:
    """Returns the mean over units of the statistic and of its percentile, judged by the same joint permutations.

    Args:
        metric: name of the statistic.
        observed: a value a unit.
        null: the same under permutations of all labels at once, so that what units share is shared in the null too.
        n_resamples: resamples of units for the intervals.
        seed: decides them.
    """
    every = np.vstack([observed, null])
    return [
        _summary(f"{metric}_percentile", null_percentiles(every), n_resamples, seed),
        _summary(metric, every, n_resamples, seed),
    ]


def _summary(metric: str, values: Float[np.ndarray, "draw unit"], n_resamples: int, seed: int) -> Score:
    """Row 0 is what was observed."""
    means = values.mean(axis=1)
    nodes = np.arange(values.shape[1])[:, None]
    low, high = interval(bootstrap_means(values[0], nodes, n_resamples=n_resamples, seed=seed))
    null_low, null_high = interval(means[1:])
    return Score(
        metric,
        level="summary",
        value=float(means[0]),
        null_mean=float(means[1:].mean()),
        null_low=null_low,
        null_high=null_high,
        p_value=float(upper_p_values(means[:1], means[1:, None])[0]),
        interval_low=low,
        interval_high=high,
        n_units=values.shape[1],
        unit="perturbation",
    )
