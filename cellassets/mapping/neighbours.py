"""Nearest wells by cosine in other groups: in other batches, on other plates, or all wells except the well itself.

Similarities are computed in blocks of queries, so that the whole matrix is never in memory. Wells are sorted by group,
so that the group of a query is one range of columns, which is left out.
"""

import numpy as np
from jaxtyping import Float, Int

from cellassets.errors import AlignmentError
from cellassets.finite import finite_arguments

BLOCK_SIMILARITIES = 1 << 24  # in memory at one time: 64 MiB of float32, 128 MiB of float64
MAX_QUERIES_AT_ONCE = 2048


@finite_arguments(AlignmentError)
def nearest_elsewhere(
    unit: Float[np.ndarray, "well feature"],
    queries: Int[np.ndarray, "query"],
    group: Int[np.ndarray, "well"],
    *,
    n_neighbours: int = 1,
) -> Int[np.ndarray, "query neighbour"]:
    """Returns for each query the nearest wells outside its own group, in no particular order.

    Args:
        unit: rows of length 1; cosines are computed in their precision.
        queries: indices of the rows whose neighbours are wanted.
        group: group number of each row; every query needs at least `n_neighbours` rows outside its group.
        n_neighbours: number of neighbours to return.
    """
    order = np.argsort(group, kind="stable")
    wells, sorted_group = unit[order], group[order]
    turn = np.argsort(group[queries], kind="stable")
    found = np.empty((len(queries), n_neighbours), dtype=np.int64)
    n_block = min(MAX_QUERIES_AT_ONCE, max(1, BLOCK_SIMILARITIES // len(unit)))
    for start in range(0, len(queries), n_block):
        block = turn[start : start + n_block]
        cosines = unit[queries[block]] @ wells.T
        _leave_out(cosines, group[queries[block]], sorted_group)
        found[block] = order[_largest(cosines, n_neighbours)]
    return found


def _leave_out(
    cosines: Float[np.ndarray, "query well"], asking: Int[np.ndarray, "query"], group: Int[np.ndarray, "well"]
) -> None:
    """Sets the cosines within the group of each query to minus infinity; `asking` and `group` are sorted."""
    groups, first = np.unique(asking, return_index=True)
    last = np.append(first[1:], len(asking))
    starts, ends = np.searchsorted(group, groups, side="left"), np.searchsorted(group, groups, side="right")
    for row, end_row, start, end in zip(first, last, starts, ends, strict=True):
        cosines[row:end_row, start:end] = -np.inf


def _largest(cosines: Float[np.ndarray, "query well"], n_neighbours: int) -> Int[np.ndarray, "query neighbour"]:
    if n_neighbours == 1:
        return cosines.argmax(axis=1)[:, None]
    return np.argpartition(cosines, -n_neighbours, axis=1)[:, -n_neighbours:]
