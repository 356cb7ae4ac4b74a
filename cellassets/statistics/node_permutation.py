"""Permutations of nodes: perturbations exchange names, and what is known of the names stays.

A table of perturbations x perturbations (ranks of similarities) is never held as a whole. It is computed in blocks of
rows, and each block is looked up for all permutations.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Int, Shaped

from cellassets.statistics.permutation import blocks, permuted_within

Permutations = Int[np.ndarray, "draw node"]
RowsOf = Callable[[int, int], Shaped[np.ndarray, "row column"]]


def node_permutations(stratum: Int[np.ndarray, "node"], n_draws: int, rng: np.random.Generator) -> Permutations:
    """Returns the node whose vector each name has: its own in row 0, one of its stratum in the other rows."""
    permuted = (permuted_within(stratum, rng) for _ in range(n_draws))
    return np.stack([np.arange(len(stratum)), *permuted]).astype(np.int32)


def permuted_lookups(
    rows_of: RowsOf,
    columns: Int[np.ndarray, "unit width"],
    permutations: Permutations,
    units: Int[np.ndarray, "unit"],
) -> Iterator[tuple[int, Int[np.ndarray, "found"], Shaped[np.ndarray, "found width"]]]:
    """Yields draw, places in `units`, and the table's values for them under this draw, until every unit had all draws.

    Args:
        rows_of: computes the rows from a first to a last (not included), with one column more than there are nodes.
        columns: nodes that each unit looks up; the number of nodes stands for that last column.
        permutations: the node whose vector each name has.
        units: nodes that look up.
    """
    n_nodes = permutations.shape[1]
    start = 0
    for n_rows in blocks(n_nodes, n_nodes):
        table = rows_of(start, start + n_rows)
        for draw, permutation in enumerate(permutations):
            row = permutation[units] - start
            here = np.flatnonzero((row >= 0) & (row < n_rows))
            moved = np.append(permutation, n_nodes)
            yield draw, here, table[row[here][:, None], moved[columns[here]]]
        start += n_rows
