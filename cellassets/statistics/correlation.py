"""Pearson correlations between wells or profiles, and their summaries over listed pairs.

Pure functions of arrays. A flat row (all features equal, up to the rounding of single precision) has no correlation; it
counts as 0 here, so that rounding noise is never scaled up to a profile.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cellassets.errors import StatisticsError
from cellassets.finite import finite_arguments
from cellassets.mapping.relate import unit_rows
from cellassets.statistics.permutation import blocks

MATRIX_ROWS = 6000  # up to this number all correlations are held in memory: 288 MB
FLAT = 1e-6  # spread of a flat row, as a share of its length; embeddings are stored in single precision
N_DIGITS = 10  # equal rows have equal correlations, in whichever block these are computed

Rows = Float[np.ndarray, "row feature"]
Places = Int[np.ndarray, "pair"]


@finite_arguments(StatisticsError)
def centred_units(values: Rows) -> Rows:
    """Returns the rows minus their own means, scaled to length 1; flat rows become 0.

    The product of two such rows is their Pearson correlation over features.
    """
    unit = unit_rows(values)
    centred = unit - unit.mean(axis=1, keepdims=True)
    centred[np.linalg.norm(centred, axis=1) <= FLAT] = 0.0
    return unit_rows(centred)


class Correlations:
    """Correlations of pairs of rows: looked up in one matrix where there are few rows, otherwise computed by pair."""

    def __init__(self, units: Rows) -> None:
        """Takes rows of length 1 or 0, as `centred_units` returns them."""
        self._units = units
        self._matrix = np.round(units @ units.T, N_DIGITS) if len(units) <= MATRIX_ROWS else None

    def of(self, first: Places, second: Places) -> Float[np.ndarray, "pair"]:
        """Returns the correlation of each pair of rows."""
        if self._matrix is not None:
            return self._matrix.ravel().take(first * len(self._matrix) + second)
        found, start = np.empty(len(first)), 0
        for n_pairs in blocks(len(first), self._units.shape[1]):
            here = slice(start, start + n_pairs)
            found[here] = np.einsum("pf,pf->p", self._units[first[here]], self._units[second[here]])
            start += n_pairs
        return np.round(found, N_DIGITS)


@dataclass(frozen=True)
class OwnedPairs:
    """Pairs of places, those of one owner after the other; `counts` is the number of pairs of each owner."""

    first: Places
    second: Places
    counts: Int[np.ndarray, "owner"]

    def means(self, values: Float[np.ndarray, "pair"]) -> Float[np.ndarray, "owner"]:
        """Returns the mean over the pairs of each owner; 0 for an owner without pairs."""
        owner = np.repeat(np.arange(len(self.counts)), self.counts)
        sums = np.bincount(owner, values, minlength=len(self.counts))
        return np.divide(sums, self.counts, out=np.zeros(len(self.counts)), where=self.counts > 0)

    def medians(self, values: Float[np.ndarray, "pair"]) -> Float[np.ndarray, "owner"]:
        """Returns the median over the pairs of each owner; 0 for an owner without pairs."""
        found, starts = np.zeros(len(self.counts)), np.cumsum(self.counts) - self.counts
        for n_pairs in np.unique(self.counts[self.counts > 0]):
            alike = np.flatnonzero(self.counts == n_pairs)
            own = np.sort(values[starts[alike][:, None] + np.arange(n_pairs)], axis=1)
            found[alike] = (own[:, (n_pairs - 1) // 2] + own[:, n_pairs // 2]) / 2
        return found


def pairs_within(sizes: Int[np.ndarray, "owner"]) -> OwnedPairs:
    """Returns all pairs of places of each owner, where the places of one owner stand after those of the one before.

    Args:
        sizes: number of places of each owner.
    """
    starts = np.cumsum(sizes) - sizes
    first, second = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for start, size in zip(starts, sizes, strict=True):
        one, other = np.triu_indices(int(size), 1)
        first.append(start + one)
        second.append(start + other)
    return OwnedPairs(np.concatenate(first), np.concatenate(second), sizes * (sizes - 1) // 2)
