"""P-values of values that are often equal: judged by a finer statistic that agrees with them where they differ."""

from collections.abc import Sequence
from dataclasses import replace

from cellassets.scoring.definition import Score
from cellassets.scoring.rows import Draws
from cellassets.scoring.statistics import benjamini_hochberg, settled_ties, upper_p_values


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
