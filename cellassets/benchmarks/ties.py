"""Ties of coarse statistics: shares of a few wells are often equal, and p-values from equal shares are coarse.

A finer statistic of the same draws decides between equal shares. It is too small to outweigh one well. Values and null
distributions stay those of the share.
"""

from collections.abc import Sequence
from dataclasses import replace

from cellassets.benchmarks.definition import Score
from cellassets.benchmarks.rows import Draws
from cellassets.errors import BenchmarkError
from cellassets.finite import finite_arguments
from cellassets.statistics.permutation import benjamini_hochberg, settled_ties, upper_p_values

TIE_BREAK = 1e-5  # times a statistic between 0 and 1; less than one well for units of fewer than 100,000 wells


@finite_arguments(BenchmarkError)
def ties_broken(shares: Draws, finer: Draws) -> Draws:
    """Returns the shares plus a small multiple of the finer statistic, which is between 0 and 1."""
    return shares + TIE_BREAK * finer


@finite_arguments(BenchmarkError)
def with_p_values_of(rows: list[Score], draws: Draws) -> list[Score]:
    """Returns a summary and the rows of its units with p- and q-values from another statistic of the same draws.

    Args:
        rows: the summary first.
        draws: the other statistic, row 0 as observed; large values are significant.
    """
    means = draws.mean(axis=1)[:, None]
    return [*with_finer_p_values(rows[:1], means), *with_finer_p_values(rows[1:], draws)]


@finite_arguments(BenchmarkError)
def with_finer_p_values(rows: Sequence[Score], draws: Draws) -> list[Score]:
    """Returns the rows with p- and q-values from other draws; values and null distributions stay.

    Args:
        rows: one row per unit, or one summary.
        draws: the finer statistic, row 0 as observed; for a summary one column, the mean over its units.
    """
    settled = settled_ties(draws)
    p_values = upper_p_values(settled[0], settled[1:])
    q_values = benjamini_hochberg(p_values)
    return [
        replace(row, p_value=float(p), q_value=None if row.q_value is None else float(q))
        for row, p, q in zip(rows, p_values, q_values, strict=True)
    ]
