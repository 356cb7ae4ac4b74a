"""Ties between coarse statistics: shares of a few wells are equal too often for their p-values to be fine.

A finer statistic of the same draws, too small to outweigh one well, tells equal shares apart. Values and nulls stay
those of the share.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from cellassets.scoring.definition import Score

TIE_BREAK = 1e-5  # of a statistic within 0 and 1; a well is worth more as long as a unit has fewer than 100,000


def told_apart(
    shares: Float[np.ndarray, "draw unit"], finer: Float[np.ndarray, "draw unit"]
) -> Float[np.ndarray, "draw unit"]:
    """Returns the shares with a little of the finer statistic, which lies within 0 and 1."""
    return shares + TIE_BREAK * finer


def with_p_values_of(rows: list[Score], finer: list[Score]) -> list[Score]:
    """Returns the rows with the p- and q-values of the same rows of the finer statistic."""
    return [
        replace(row, p_value=other.p_value, q_value=other.q_value) for row, other in zip(rows, finer, strict=True)
    ]
