"""Ties between coarse statistics: shares of a few wells are equal too often for their p-values to be fine.

A finer statistic of the same draws, too small to outweigh one well, tells equal shares apart. Values and nulls stay
those of the share.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from cellassets.scoring.definition import Score
from cellassets.scoring.statistics import benjamini_hochberg, settled_ties, upper_p_values

TIE_BREAK = 1e-5  # of a statistic within 0 and 1; a well is worth more as long as a unit has fewer than 100,000


def told_apart(
    shares: Float[np.ndarray, "draw unit"], finer: Float[np.ndarray, "draw unit"]
) -> Float[np.ndarray, "draw unit"]:
    """Returns the shares with a little of the finer statistic, which lies within 0 and 1."""
    return shares + TIE_BREAK * finer


def with_p_values_of(rows: list[Score], draws: Float[np.ndarray, "draw unit"]) -> list[Score]:
    """Returns a summary and the rows of its units with the p- and q-values of another statistic of the same draws.

    Args:
        rows: the summary first.
        draws: the other statistic, row 0 as observed; large is what is asked for.
    """
    means, of_units = settled_ties(draws.mean(axis=1)[:, None]), settled_ties(draws)
    p_values = upper_p_values(of_units[0], of_units[1:])
    units = zip(rows[1:], p_values.tolist(), benjamini_hochberg(p_values).tolist(), strict=True)
    summary = replace(rows[0], p_value=float(upper_p_values(means[0], means[1:])[0]))
    return [summary, *(replace(row, p_value=p, q_value=q) for row, p, q in units)]
