"""Energy distances between groups of wells, for many assignments of labels to the same wells at once.

Pure functions of a matrix of distances. `cellassets.benchmarks.replicates.magnitude` defines which wells are compared
and how labels are permuted.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cellassets.errors import StatisticsError
from cellassets.finite import finite_arguments
from cellassets.statistics.permutation import blocks

Distances = Float[np.ndarray, "well well"]


@finite_arguments(StatisticsError)
def pairwise_distances(wells: Float[np.ndarray, "well feature"]) -> Distances:
    """Returns the Euclidean distance between every two wells."""
    squares = np.einsum("wf,wf->w", wells, wells)
    squared = squares[:, None] + squares[None] - 2 * wells @ wells.T
    np.fill_diagonal(squared, 0.0)
    return np.sqrt(np.maximum(squared, 0.0))


@dataclass(frozen=True)
class GroupSums:
    """Sums of distances over all ordered pairs: within x, between x and y, within y; one entry per comparison."""

    within_x: Float[np.ndarray, "n"]
    between: Float[np.ndarray, "n"]
    within_y: Float[np.ndarray, "n"]

    def measures(
        self, n_x: Int[np.ndarray, "..."] | int, n_y: Int[np.ndarray, "..."] | int
    ) -> Float[np.ndarray, "measure n"]:
        """Returns two rows: magnitude, and energy distance.

        The energy distance is 2 E|x - y| - E|x - x'| - E|y - y'| with means over pairs of different wells. Its mean is
        0 where x and y come from one distribution, for any number of wells. The magnitude is its share of 2 E|x - y|: 1
        where all wells of each group are equal and the groups differ.

        Args:
            n_x: wells of x, at least 2.
            n_y: wells of y, at least 2.

        Source: Szekely and Rizzo (2013), J. Stat. Plan. Inference 143:1249; the share is the coefficient of
        inhomogeneity there, in the unbiased form (U-statistics).
        """
        twice = 2 * self.between / (n_x * n_y)
        energy = twice - self.within_x / (n_x * (n_x - 1)) - self.within_y / (n_y * (n_y - 1))
        return np.stack([np.divide(energy, twice, out=np.zeros_like(energy), where=twice > 0), energy])


@finite_arguments(StatisticsError)
def two_group_measures(distances: Distances, chosen: Int[np.ndarray, "draw x"]) -> Float[np.ndarray, "measure draw"]:
    """Returns the measures between the chosen wells and all others, one column per draw.

    Args:
        distances: between all wells.
        chosen: the wells of group x in each draw, each once.
    """
    n_x = chosen.shape[1]
    row_sums = distances.sum(axis=1)
    within_x, start = np.empty(len(chosen)), 0
    for n_draws in blocks(len(chosen), n_x * n_x):
        part = chosen[start : start + n_draws]
        within_x[start : start + n_draws] = distances[part[:, :, None], part[:, None, :]].sum(axis=(1, 2))
        start += n_draws
    from_x = row_sums[chosen].sum(axis=1)
    sums = GroupSums(within_x, from_x - within_x, row_sums.sum() - 2 * from_x + within_x)
    return sums.measures(n_x, len(distances) - n_x)


@finite_arguments(StatisticsError)
def influences_of_others(distances: Distances, n_x: int) -> Float[np.ndarray, "y"]:
    """Returns by how much the magnitude of the first `n_x` wells would fall without each of the others.

    Args:
        distances: between all wells, group x first.
        n_x: wells of x, at least 2; there are at least 3 others.
    """
    n_y = len(distances) - n_x
    within_x = np.full(n_y, distances[:n_x, :n_x].sum())
    to_each, among = distances[:n_x, n_x:].sum(axis=0), distances[n_x:, n_x:]
    between, within_y = np.full(n_y, to_each.sum()), np.full(n_y, among.sum())
    whole = GroupSums(within_x, between, within_y).measures(n_x, n_y)[0]
    without = GroupSums(within_x, between - to_each, within_y - 2 * among.sum(axis=0)).measures(n_x, n_y - 1)[0]
    return whole - without


class ManyGroups:
    """Units of wells that are each compared with the controls of their plates; any well can be put at any place.

    The order of the places is: wells of unit 0, of unit 1, ..., controls. Everything that depends on places alone (the
    controls of a unit, the places of a unit) is computed once.
    """

    def __init__(
        self,
        unit: Int[np.ndarray, "treated"],
        plate: Int[np.ndarray, "treated"],
        control_plate: Int[np.ndarray, "control"],
    ) -> None:
        """Takes each treated place's unit (sorted, from 0 on) and plate, and each control place's plate."""
        counts = np.bincount(unit)
        self._starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        is_on = np.zeros((len(counts), max(plate.max(), control_plate.max()) + 1))
        is_on[unit, plate] = 1.0
        compared = is_on[:, control_plate]
        self._patterns, self._pattern = np.unique(compared, axis=0, return_inverse=True)
        self._pattern = self._pattern.reshape(-1)
        self._is_compared = compared[unit]
        self._first = np.concatenate([np.repeat(np.flatnonzero(unit == u), n) for u, n in enumerate(counts)])
        self._second = np.concatenate([np.tile(np.flatnonzero(unit == u), n) for u, n in enumerate(counts)])
        self._pair_starts = np.concatenate([[0], np.cumsum(counts**2)[:-1]])
        self._n_x, self._n_y = counts, compared.sum(axis=1).astype(np.int64)

    def measures(self, distances: Distances, well: Int[np.ndarray, "place"]) -> Float[np.ndarray, "measure unit"]:
        """Returns the measures of every unit where place i has well `well[i]`."""
        n_treated = len(self._is_compared)
        treated, controls = well[:n_treated], well[n_treated:]
        to_controls = np.einsum("tc,tc->t", distances[np.ix_(treated, controls)], self._is_compared)
        among = distances[np.ix_(controls, controls)]
        within_y = np.einsum("pc,pc->p", self._patterns @ among, self._patterns)[self._pattern]
        pairs = distances[treated[self._first], treated[self._second]]
        sums = GroupSums(
            np.add.reduceat(pairs, self._pair_starts), np.add.reduceat(to_controls, self._starts), within_y
        )
        return sums.measures(self._n_x, self._n_y)
