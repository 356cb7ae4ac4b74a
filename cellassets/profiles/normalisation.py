"""Normalisation of the features of one plate, as pycytominer computes it. Missing values are NaN and stay NaN.

Source: pycytominer 1.7, `RobustMAD` and scikit-learn's `StandardScaler`, which `normalize` calls.
"""

import numpy as np
import polars as pl
from jaxtyping import Float

MAD_TO_DEVIATION = 1.4826  # standard deviation of a normal distribution over its MAD; rounded as in pycytominer


def mad_robustize(
    rows: Float[np.ndarray, "row feature"], fitted: Float[np.ndarray, "fitted feature"], *, epsilon: float
) -> Float[np.ndarray, "row feature"]:
    """Returns (x - median) / (1.4826 MAD + epsilon).

    Args:
        rows: rows to scale.
        fitted: rows from which the median and the MAD are computed, without missing values.
        epsilon: added to the deviation. With 0, a feature with MAD 0 becomes infinite or missing.
    """
    median = medians(fitted)
    deviation = MAD_TO_DEVIATION * medians(np.abs(fitted - median))
    with np.errstate(divide="ignore", invalid="ignore"):
        return (rows - median) / (deviation + epsilon)


def standardize(
    rows: Float[np.ndarray, "row feature"], fitted: Float[np.ndarray, "fitted feature"]
) -> Float[np.ndarray, "row feature"]:
    """Returns (x - mean) / standard deviation; a feature that is constant in `fitted` is only centred.

    Args:
        rows: rows to scale.
        fitted: rows from which the mean and the standard deviation are computed, without missing values.
    """
    from sklearn.preprocessing import StandardScaler

    is_known = ~np.isnan(fitted).all(axis=0)
    scaled = np.full_like(rows, np.nan)
    if is_known.any():
        scaled[:, is_known] = StandardScaler().fit(fitted[:, is_known]).transform(rows[:, is_known])
    return scaled


def medians(values: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "feature"]:
    """Returns the median of each column without its missing values; NaN for a column without values."""
    frame = pl.from_numpy(values)
    return frame.select(pl.all().fill_nan(None).median().cast(pl.Float64)).to_numpy()[0].astype(np.float64)
