"""A linear probe in closed form: it predicts the class with the nearest training mean, in a metric without labels.

The metric is the inverse of the training wells' total covariance, shrunk more the fewer wells there are. Labels are
used only for the class means, so a permutation of labels costs one matrix product and no fit.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from cellassets.errors import StatisticsError
from cellassets.finite import finite_arguments
from cellassets.mapping.moments import Moments, fourth_powers, shrunk_covariance
from cellassets.mapping.source import ArrayWells, blocks

SCORES_AT_ONCE = 1 << 24  # test wells x classes held at once: 64 MiB


@dataclass(frozen=True)
class Metric:
    """The centre of the rows, and the matrix after which squared distances are those of the probe's metric."""

    origin: Float[np.ndarray, "feature"]
    whitener: Float[np.ndarray, "feature feature"]

    def apply(self, rows: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row feature"]:
        """Returns the rows centred and whitened, in single precision."""
        return (rows - self.origin).astype(np.float32) @ self.whitener.astype(np.float32)


def metric_of(training: Moments, fourth: float) -> Metric:
    """Returns the metric of training wells: the inverse of their covariance, shrunk towards a multiple of the identity.

    Args:
        training: moments of the training wells, with products.
        fourth: sum over them of the fourth power of their distance to their mean.
    """
    values, axes = np.linalg.eigh(shrunk_covariance(training.scatter, training.n, fourth))
    scale = float(values.mean())  # shrinking keeps the trace
    return Metric(training.mean, axes / np.sqrt(np.maximum(values, 1e-9 * max(scale, 1e-12))))


@finite_arguments(StatisticsError)
def summed_fourth_powers(
    wells: Float[np.ndarray, "well feature"], rows: Int[np.ndarray, "row"], origin: Float[np.ndarray, "feature"]
) -> float:
    """Returns the sum over these wells of the fourth power of their distance to the origin."""
    source = ArrayWells(wells)
    return sum(fourth_powers(source.rows(some) - origin) for some in blocks(rows, source.n_features))


@finite_arguments(StatisticsError)
def nearest_class(
    rows: Float[np.ndarray, "row feature"],
    means: Float[np.ndarray, "class feature"],
    own: Int[np.ndarray, "row"],
    is_class: Bool[np.ndarray, "class"],
) -> tuple[Bool[np.ndarray, "row"], Float[np.ndarray, "row"]]:
    """Returns which rows are nearest to the mean of their own class, and how near they are to it, from 0 to 1.

    Args:
        rows: test wells after `Metric.apply`.
        means: class means after it.
        own: class of each row.
        is_class: classes that are among the training wells.

    Source: linear discriminant analysis with equal priors (Hastie, Tibshirani and Friedman, The Elements of Statistical
    Learning, section 4.3), with the total covariance in place of the covariance within classes: the spread of class
    means counts as noise, and no permutation changes the metric.
    """
    half = np.where(is_class, np.einsum("cf,cf->c", means, means) / 2, np.inf).astype(np.float32)
    is_right, closeness = np.empty(len(rows), dtype=bool), np.empty(len(rows))
    n_block = max(1, SCORES_AT_ONCE // len(means))
    for start in range(0, len(rows), n_block):
        block = slice(start, start + n_block)
        scores = rows[block] @ means.T - half
        of_own = scores[np.arange(len(scores)), own[block]]
        short = scores.max(axis=1) - of_own
        is_right[block] = scores.argmax(axis=1) == own[block]
        closeness[block] = 1 / (1 + short)
    return is_right, closeness
