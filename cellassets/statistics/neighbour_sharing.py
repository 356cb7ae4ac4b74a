"""Neighbours that two lists share, and the contribution of each neighbour."""

import numpy as np
from jaxtyping import Float, Int

Lists = Int[np.ndarray, "row neighbour"]


def jaccard_index(n_shared: Int[np.ndarray, "*many"], n_neighbours: int) -> Float[np.ndarray, "*many"]:
    """Returns the shared neighbours as a share of all neighbours in either of two lists of equal length."""
    return n_shared / (2 * n_neighbours - n_shared)


def partner_shares(here: Lists, there: Lists) -> Float[np.ndarray, "row"]:
    """Returns the contribution of each row to the Jaccard indices of the others, as a neighbour in both lists.

    The index of a row is divided among the neighbours that its two lists share. The contributions have the same sum as
    the indices: the indices are grouped by the row that has the lists, the contributions by the row that is in them.

    Args:
        here: neighbours of each row in one map.
        there: the same in the other map.
    """
    is_shared = (here[:, :, None] == there[:, None, :]).any(axis=2)
    n_shared = is_shared.sum(axis=1)
    share = 1.0 / (2 * here.shape[1] - n_shared)
    shares = np.bincount(here[is_shared], np.repeat(share, n_shared), len(here))
    return shares.astype(np.float64)  # numpy counts in integers where nothing is shared
