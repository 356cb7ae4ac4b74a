"""Mahalanobis distances by the covariance of controls, and the distance between two groups under many permutations.

Pure functions of arrays. `cellassets.benchmarks.known_measures.mp_value` defines which wells are compared and how
labels are permuted.
"""

import numpy as np
from jaxtyping import Float, Int

from cellassets.errors import StatisticsError
from cellassets.finite import finite_arguments
from cellassets.statistics.permutation import blocks

ROUNDING = 1e-6  # of the length of a vector; a smaller standard deviation is rounding in single precision


@finite_arguments(StatisticsError)
def whitened(
    rows: Float[np.ndarray, "row feature"], controls: Float[np.ndarray, "control feature"], variance_frac: float
) -> Float[np.ndarray, "row component"]:
    """Returns the rows in principal components of the controls, divided by the controls' standard deviations there.

    The squared length of a difference of two such rows is their squared Mahalanobis distance. Components are kept up to
    a share of the controls' variance, and at most one for every two controls. Without any variance the result is 0.

    Args:
        rows: what is transformed.
        controls: at least two rows.
        variance_frac: share of the variance, above 0 and up to 1.
    """
    centred = controls - controls.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred / len(controls))
    variances, axes = np.maximum(variances[::-1], 0.0), axes[:, ::-1]
    scale = float((controls**2).sum(axis=1).mean())
    n_kept = min(_n_components(variances, variance_frac), max(1, len(controls) // 2))
    is_kept = (np.arange(len(variances)) < n_kept) & (variances > ROUNDING**2 * scale)
    if not is_kept.any():
        return np.zeros((len(rows), 1))
    return (rows - controls.mean(axis=0)) @ (axes[:, is_kept] / np.sqrt(variances[is_kept]))


def _n_components(variances: Float[np.ndarray, "component"], variance_frac: float) -> int:
    """The smallest number of components with more than this share of the variance, as scikit-learn counts them."""
    shares = np.cumsum(variances) / variances.sum() if variances.sum() > 0 else np.ones(len(variances))
    return int(np.searchsorted(shares, variance_frac, side="right")) + 1


@finite_arguments(StatisticsError)
def distances_of_chosen(
    own: Float[np.ndarray, "own component"],
    others: Float[np.ndarray, "other component"],
    chosen: Int[np.ndarray, "draw own"],
) -> Float[np.ndarray, "draw"]:
    """Returns the squared distance between the mean of the chosen rows and that of all other rows, for each draw.

    Args:
        own: rows of the group.
        others: rows that it is compared with.
        chosen: places among `own` and then `others`, as many as there are rows in `own`.
    """
    n_own, n_others = len(own), len(others)
    rows = np.concatenate([own, others])
    total, found, start = rows.sum(axis=0), np.empty(len(chosen)), 0
    for n_draws in blocks(len(chosen), len(rows) + rows.shape[1]):
        part = chosen[start : start + n_draws]
        is_chosen = np.zeros((n_draws, len(rows)))
        is_chosen[np.arange(n_draws)[:, None], part] = 1.0
        difference = (is_chosen @ rows) * (1 / n_own + 1 / n_others) - total / n_others
        found[start : start + n_draws] = np.einsum("dc,dc->d", difference, difference)
        start += n_draws
    return found
