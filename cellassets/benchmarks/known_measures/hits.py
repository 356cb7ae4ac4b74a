"""Hits: units whose statistic is above the 95th percentile of its own null distribution, and the share of them."""

import numpy as np

from cellassets.benchmarks.rows import Draws
from cellassets.benchmarks.ties import ties_broken
from cellassets.errors import BenchmarkError
from cellassets.finite import finite_arguments
from cellassets.statistics.permutation import null_percentiles

QUANTILE = 0.95


@finite_arguments(BenchmarkError)
def hits_above_null(draws: Draws) -> tuple[Draws, Draws]:
    """Returns 1 for each draw of a unit above the 95th percentile of all its draws, and the same with ties broken.

    A draw that equals the percentile is not a hit, so a map on which all draws are equal has none. Every row is treated
    like the observed one, so that the share of hits can be judged by its own permutations. Shares of few units are
    often equal; the second array adds a small multiple of the percentile of each draw, for p-values.

    Args:
        draws: row 0 as observed, the others under permutations.
    """
    hits = (draws > np.quantile(draws, QUANTILE, axis=0)).astype(np.float64)
    return hits, ties_broken(hits, null_percentiles(draws))
