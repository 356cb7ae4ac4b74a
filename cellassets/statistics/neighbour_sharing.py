"""Neighbours that two lists share, and whose neighbours they are."""

import numpy as np
from jaxtyping import Float, Int

Lists = Int[np.ndarray, "row neighbour"]


def jaccard_index(n_shared: Int[np.ndarray, "*many"], n_neighbours: int) -> Float[np.ndarray, "*many"]:
    """Returns shared neighbours as a share of all that either of two lists of equal length has."""
    return n_shared / (2 * n_neighbours - n_shared)


def partner_shares(here: Lists, there: Lists) -> Float[np.ndarray, "row"]:
    """Returns what each row adds to the Jaccard indices of the others by being a neighbour that both lists have.

    A row's index is divided among the neighbours that its lists share. Over all rows these shares sum to what the
    indices do: one sum, told off by whose list it is there, and by who is on it here.

    Args:
        here: neighbours of each row in one map.
        there: the same in the other map.
    """
    is_shared = (here[:, :, None] == there[:, None, :]).any(axis=2)
    n_shared = is_shared.sum(axis=1)
    share = 1.0 / (2 * here.shape[1] - n_shared)
    return np.bincount(here[is_shared], np.repeat(share, n_shared), len(here))
