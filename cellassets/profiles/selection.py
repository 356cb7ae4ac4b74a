"""Feature selection as pycytominer computes it: arrays in, one truth value per feature out. Missing values are NaN.

Source: pycytominer 1.7, `feature_select` and the operations that it calls.
"""

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

Values = Float[np.ndarray, "row feature"]
PerFeature = Bool[np.ndarray, "feature"]
ROUNDING = 64 * np.finfo(np.float64).eps  # below this share of the raw moment, a variance is rounding error


def missing_above(values: Values, cutoff: float) -> PerFeature:
    """Returns true for each feature of which more than this share of values is missing."""
    return np.isnan(values).mean(axis=0) > cutoff


def rarely_different(values: Values, *, freq_cut: float, unique_cut: float) -> PerFeature:
    """Returns true for each feature with few different values.

    Args:
        values: features of all rows.
        freq_cut: smallest count of the second most common value over that of the most common one. A feature with less
            than two values has the ratio 0.
        unique_cut: smallest number of different values over the number of rows, missing values included.
    """
    found = np.zeros(values.shape[1], dtype=bool)
    for index, column in enumerate(values.T):
        counts = np.sort(np.unique(column[~np.isnan(column)], return_counts=True)[1])
        ratio = counts[-2] / counts[-1] if len(counts) > 1 else 0.0
        found[index] = ratio < freq_cut or len(counts) / len(column) < unique_cut
    return found


def variance_at_most(values: Values, min_variance: float) -> PerFeature:
    """Returns true for each feature with this variance (over n) or less, and for one without values."""
    frame = pl.from_numpy(values)
    variance = frame.select(pl.all().fill_nan(None).var(ddof=0).cast(pl.Float64)).to_numpy()[0].astype(np.float64)
    return ~(variance > min_variance)


def extreme_above(values: Values, cutoff: float) -> PerFeature:
    """Returns true for each feature with a larger absolute value."""
    return (np.abs(values) > cutoff).any(axis=0)


def correlated_above(values: Values, threshold: float) -> PerFeature:
    """Returns true for one feature of each pair with a higher Pearson correlation than the threshold.

    Of a pair, the feature with the larger sum of absolute correlations with all features is dropped; where both sums
    are equal, the later one. A pair of features that vary in opposite directions is kept, as in pycytominer.
    """
    correlations = _correlations(values)
    place = np.empty(len(correlations), dtype=np.int64)
    place[np.argsort(np.nansum(np.abs(correlations), axis=0), kind="stable")] = np.arange(len(correlations))
    first, second = np.nonzero(np.tril(np.nan_to_num(correlations, nan=-1.0) > threshold, k=-1))
    found = np.zeros(len(correlations), dtype=bool)
    found[np.where(place[first] > place[second], first, second)] = True
    return found


def _correlations(values: Values) -> Float[np.ndarray, "feature feature"]:
    """Pearson correlations over the rows that both features of a pair have; NaN where one of them is constant."""
    if not np.isnan(values).any():
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.atleast_2d(np.corrcoef(values, rowvar=False))
    is_there = ~np.isnan(values)
    n_known = np.maximum(is_there.sum(axis=0), 1)
    centred = np.where(is_there, values, 0.0)
    centred = np.where(is_there, centred - centred.sum(axis=0) / n_known, 0.0)
    there = is_there.astype(np.float64)
    n_rows = np.maximum(there.T @ there, 1.0)
    sums, squares = centred.T @ there, (centred**2).T @ there  # of the first feature, over the rows of both
    covariance = centred.T @ centred - sums * sums.T / n_rows
    variance = squares - sums**2 / n_rows
    variance = np.where(variance > ROUNDING * squares, variance, np.nan)
    return np.clip(covariance / np.sqrt(variance * variance.T), -1.0, 1.0)
