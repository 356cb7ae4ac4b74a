"""Rank-biased overlap of two rankings of the same items."""

import math

import numpy as np
from jaxtyping import Float

LEFT_OUT = 0.001  # share of the weight beyond the compared depth


def overlap_depth(n_items: int, persistence: float) -> int:
    """Returns the depth to which rankings are compared: all items, or where weights have fallen to a thousandth."""
    return max(1, min(n_items, math.ceil(math.log(LEFT_OUT) / math.log(persistence))))


def overlap_weights(depth: int, persistence: float) -> Float[np.ndarray, "rank"]:
    """Returns the weight of an item in the overlap by the larger of its two ranks, 0 to `depth`; place 0 is not used.

    The extrapolated overlap of two rankings to depth k, with X_d items among the first d of both, is X_k / k p^k + (1 -
    p) / p sum_d X_d / d p^d. An item whose larger rank is m counts in all X_d with d >= m, so the overlap is a sum of
    one weight per item.

    Args:
        depth: k.
        persistence: p, the share of readers of one rank who read the next.

    Source: Webber, Moffat and Zobel (2010), ACM Trans. Inf. Syst. 28:20, equation 23 (RBO_EXT).
    """
    ranks = np.arange(1, depth + 1)
    terms = (1 - persistence) / persistence * persistence**ranks / ranks
    from_here = np.cumsum(terms[::-1])[::-1] + persistence**depth / depth
    return np.concatenate([[0.0], from_here])
