"""Means, variances and covariances of wells that are read in blocks, and what is computed from them.

Blocks are merged in float64 by the exact formula for two groups, so that a file of any length gives the same result as
a matrix in memory. Only the shrinkage of Ledoit and Wolf needs more than second moments: the sum over rows of their
length to the fourth power.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cellassets.errors import AlignmentError
from cellassets.finite import finite_arguments, require_finite
from cellassets.mapping.source import Block, Rows, RowsOfGroups, WellSource, blocks

Square = Float[np.ndarray, "feature feature"]


@dataclass(frozen=True)
class Moments:
    """Count, mean, and summed squares (feature,) or products (feature, feature) of deviations from the mean."""

    n: int
    mean: Float[np.ndarray, "feature"]
    scatter: Float[np.ndarray, "feature"] | Square

    @property
    def variance(self) -> Float[np.ndarray, "feature"]:
        """Variance of each feature, over n."""
        return (self.scatter if self.scatter.ndim == 1 else np.diag(self.scatter)) / self.n

    def less(self, part: "Moments") -> "Moments":
        """Returns the moments, with products, of the rows that are not in `part`; `part` is a subset of the rows."""
        n = self.n - part.n
        mean = (self.n * self.mean - part.n * part.mean) / n
        delta = part.mean - mean
        return Moments(n, mean, self.scatter - part.scatter - np.outer(delta, delta) * (n * part.n / self.n))


@finite_arguments(AlignmentError)
def moments_of(values: Block, *, has_products: bool) -> Moments:
    """Returns the moments of a block of at least one row."""
    mean = np.add.reduce(values, axis=0) / len(values)  # values.mean(axis=0) takes twice as long for few values
    centred = values - mean
    scatter = centred.T @ centred if has_products else np.einsum("ij,ij->j", centred, centred)
    return Moments(len(values), mean, scatter)


def merge(parts: Iterable[Moments]) -> Moments:
    """Returns the moments of the rows of all parts together.

    Source: Chan, Golub and LeVeque (1983), Am Stat 37:242, equation 2.1 for two samples.
    """
    parts = iter(parts)
    first = next(parts)
    n, mean, scatter = first.n, first.mean.copy(), first.scatter.copy()
    for part in parts:
        total = n + part.n
        delta = part.mean - mean
        scatter += part.scatter
        scatter += (delta[:, None] * delta if scatter.ndim == 2 else delta**2) * (n * part.n / total)
        mean += delta * (part.n / total)
        n = total
    return Moments(n, mean, scatter)


def source_moments(source: WellSource, rows: Rows, *, has_products: bool) -> Moments:
    """Returns the moments of the wells `rows` of a source."""
    return merge(moments_of(source.rows(r), has_products=has_products) for r in blocks(rows, source.n_features))


def moments_by_group(source: WellSource, rows_of_group: RowsOfGroups) -> list[Moments]:
    """Returns the count, mean and summed squares of every group; no group may be empty."""
    return [source_moments(source, rows, has_products=False) for rows in rows_of_group]


@finite_arguments(AlignmentError)
def shrunk_covariance(scatter: Square, n_rows: int, fourth: float) -> Square:
    """Returns the covariance of rows, shrunk towards a multiple of the identity as `shrinkage` says."""
    weight, scale = shrinkage(scatter, n_rows, fourth)
    return weight * scale * np.eye(len(scatter)) + (1.0 - weight) * scatter / n_rows


@finite_arguments(AlignmentError)
def fourth_powers(residuals: Float[np.ndarray, "control feature"]) -> float:
    """Returns the sum over rows of the row's length to the fourth power."""
    return float((np.einsum("ij,ij->i", residuals, residuals) ** 2).sum())


@finite_arguments(AlignmentError)
def shrinkage(scatter: Square, n_rows: int, fourth: float) -> tuple[float, float]:
    """Returns how much to shrink (0: not at all, 1: fully), and towards which variance.

    Args:
        scatter: summed products of centred rows.
        n_rows: number of rows.
        fourth: sum of the rows' lengths to the fourth power.

    Source: Ledoit and Wolf (2004), J Multivar Anal 88:365, section 3.3 (their m, d^2, b^2).
    """
    n_features = len(scatter)
    scale = float(np.trace(scatter)) / n_rows / n_features
    squares = float((scatter**2).sum()) / n_rows**2
    distance = float(((scatter / n_rows - scale * np.eye(n_features)) ** 2).sum())
    if distance <= 1e-24:
        return 0.0, scale
    noise = (fourth / n_rows - squares) / n_rows
    return min(max(noise, 0.0), distance) / distance, scale


@finite_arguments(AlignmentError)
def symmetric_power(matrix: Square, exponent: float) -> Square:
    """Returns a power of a symmetric positive definite matrix, by eigenvalues (30 times as fast as a general power)."""
    values, axes = np.linalg.eigh(matrix)
    return (axes * np.maximum(values, 1e-12) ** exponent) @ axes.T


@finite_arguments(AlignmentError)
def ridged_power(rows: Float[np.ndarray, "row feature"], factor: float, ridge: float, exponent: float) -> Square:
    """Returns a power of (factor x rows' rows + ridge x I).

    With fewer rows than features, this matrix is a multiple of the identity outside the space that the rows span.
    Inside this space the power follows from the eigenvalues of the smaller matrix rows rows'.

    Args:
        rows: centred rows.
        factor: for example 1 / (n - 1).
        ridge: above 0.
        exponent: the power.
    """
    n_rows, n_features = rows.shape
    if n_rows >= n_features:
        return symmetric_power(factor * (rows.T @ rows) + ridge * np.eye(n_features), exponent)
    values, axes = np.linalg.eigh(factor * (rows @ rows.T))
    values = np.maximum(values, 0.0)
    limit = exponent * ridge ** (exponent - 1)  # limit of the quotient below as the eigenvalue goes to 0
    gain = np.full(n_rows, limit)
    np.divide((values + ridge) ** exponent - ridge**exponent, values, out=gain, where=values > 1e-9 * ridge)
    spanned = rows.T @ axes
    return (spanned * (factor * gain)) @ spanned.T + ridge**exponent * np.eye(n_features)


@finite_arguments(AlignmentError)
def signed_axes(matrix: Square) -> tuple[Float[np.ndarray, "axis"], Float[np.ndarray, "feature axis"]]:
    """Returns the eigenvalues, largest first, and the eigenvectors as columns, with their largest loading positive.

    Fixing the sign makes the results independent of the linear algebra library.
    """
    values, axes = np.linalg.eigh(matrix)
    values, axes = values[::-1], axes[:, ::-1]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return values, axes * np.where(largest < 0, -1.0, 1.0)


def group_sums(values: Block, group_index: Int[np.ndarray, "row"], n_groups: int) -> Float[np.ndarray, "group feature"]:
    """Returns the sum of the rows of each group, in the precision of the rows; rows of group -1 do not count.

    Raises:
        AlignmentError: a row that counts is not finite.
    """
    from scipy.sparse import csr_array

    counted = np.flatnonzero(group_index >= 0)
    ones = np.ones(len(counted), dtype=values.dtype)
    sums = csr_array((ones, (group_index[counted], counted)), shape=(n_groups, len(values))) @ values
    require_finite("group_sums", sums, kind="the sum of group", error=AlignmentError)  # fewer values than the rows have
    return sums
