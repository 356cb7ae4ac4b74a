"""Nearest wells by cosine among those of other groups: other batches, other plates, or all but the well itself.

Similarities are computed in blocks of queries and never held as a whole. Wells come group after group while it works,
so that a query's own group is one stretch of columns to leave out.
"""

import numpy as np
from jaxtyping import Float, Int

BLOCK_SIMILARITIES = 1 << 24  # held at once: 64 MiB of float32, 128 MiB of float64
MAX_QUERIES_AT_ONCE = 2048


def nearest_elsewhere(
    unit: Float[np.ndarray, "well feature"],
    queries: Int[np.ndarray, "query"],
    group: Int[np.ndarray, "well"],
    *,
    n_neighbours: int = 1,
) -> Int[np.ndarray, "query neighbour"]:
    """Returns the nearest wells that are not of the query's own group, in no order.

    Args:
        unit: rows of length 1; computed in their own precision.
        queries: rows that ask.
        group: number of each row's group; every query has `n_neighbours` rows outside its own.
        n_neighbours: how many to return.
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
    """Sets the cosines within the query's own group to minus infinity; both groups are sorted."""
    groups, first = np.unique(asking, return_index=True)
    last = np.append(first[1:], len(asking))
    starts, ends = np.searchsorted(group, groups, side="left"), np.searchsorted(group, groups, side="right")
    for row, end_row, start, end in zip(first, last, starts, ends, strict=True):
        cosines[row:end_row, start:end] = -np.inf


def _largest(cosines: Float[np.ndarray, "query well"], n_neighbours: int) -> Int[np.ndarray, "query neighbour"]:
    if n_neighbours == 1:
        return cosines.argmax(axis=1)[:, None]
    return np.argpartition(cosines, -n_neighbours, axis=1)[:, -n_neighbours:]
