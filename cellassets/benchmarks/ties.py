"""Ties between coarse statistics: shares of a few wells are equal too often for their p-values to be fine.

A finer statistic of the same draws, too small to outweigh one well, tells equal shares apart. Values and nulls stay
those of the share.
"""

from collections.abc import Sequence
from dataclasses import replace

from cellassets.benchmarks.definition import Score
from cellassets.benchmarks.rows import Draws
from cellassets.statistics.permutation import benjamini_hochberg, settled_ties, upper_p_values

TIE_BREAK = 1e-5  # of a statistic within 0 and 1; a well is worth more as long as a unit has fewer than 100,000


def told_apart(shares: Draws, finer: Draws) -> Draws:
    """Returns the shares with a little of the finer statistic, which lies within 0 and 1."""
    return shares + TIE_BREAK * finer


def with_p_values_of(rows: list[Score], draws: Draws) -> list[Score]:
    """Returns a summary and the rows of its units with the p- and q-values of another statistic of the same draws.

    Args:
        rows: the summary first.
        draws: the other statistic, row 0 as observed; large is what is asked for.
    """
    means = draws.mean(axis=1)[:, None]
    return [*with_finer_p_values(rows[:1], means), *with_finer_p_values(rows[1:], draws)]


def with_finer_p_values(rows: Sequence[Score], draws: Draws) -> list[Score]:
    """Returns the rows with the p- and q-values of other draws; values and nulls stay.

    Args:
        rows: one a unit, or a summary alone.
        draws: of the finer statistic, row 0 as observed; of a summary one column, the mean over its units.
    """
    settled = settled_ties(draws)
    p_values = upper_p_values(settled[0], settled[1:])
    q_values = benjamini_hochberg(p_values)
    return [
        replace(row, p_value=float(p), q_value=None if row.q_value is None else float(q))
        for row, p, q in zip(rows, p_values, q_values, strict=True)
    ]
