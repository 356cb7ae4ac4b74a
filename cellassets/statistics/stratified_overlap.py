"""The overlap of two groups of names when names are permuted within strata: its exact distribution.

With one stratum this is the hypergeometric distribution. With several it is the distribution of a sum of independent
hypergeometric numbers, one per stratum: what infinitely many permutations within strata would give.

Source: Mantel and Haenszel (1959), J. Natl. Cancer Inst. 22:719, in the exact form of Birch (1964), J. R. Stat. Soc. B
26:313, with a common odds ratio of 1.
"""

import numpy as np
from jaxtyping import Float, Int

Counts = Int[np.ndarray, "stratum"]


def overlap_p_value(n_overlap: int, n_names: Counts, n_first: Counts, n_second: Counts) -> float:
    """Returns the probability of an overlap at least as large as observed.

    Args:
        n_overlap: names that are in both groups.
        n_names: all names of each stratum.
        n_first: names of each stratum that are in the first group.
        n_second: names of each stratum that are in the second group.
    """
    chances = np.ones(1)
    for stratum in zip(n_names, n_first, n_second, strict=True):
        chances = np.convolve(chances, _hypergeometric(*map(int, stratum)))
    return float(min(1.0, chances[n_overlap:].sum()))


def expected_overlap(n_names: Counts, n_first: Counts, n_second: Counts) -> float:
    """Returns the mean of the overlap; the arguments are those of `overlap_p_value`."""
    return float((n_first * n_second / n_names).sum())


def _hypergeometric(n_names: int, n_first: int, n_second: int) -> Float[np.ndarray, "overlap"]:
    """Probabilities of overlaps of 0, 1, 2 and so on, up to the size of the smaller group."""
    largest = min(n_first, n_second)
    if largest == 1:  # most strata hold one name of a cluster; ten times as fast
        chance = n_first * n_second / n_names
        return np.array([1.0 - chance, chance])
    overlap = np.arange(max(0, n_first + n_second - n_names), largest + 1)
    logs = _log_choose(n_first, overlap) + _log_choose(n_names - n_first, n_second - overlap)
    chances = np.exp(logs - _log_choose(n_names, np.array([n_second])))
    return np.concatenate([np.zeros(largest + 1 - len(overlap)), chances])


def _log_choose(n: int, k: Int[np.ndarray, "overlap"]) -> Float[np.ndarray, "overlap"]:
    from scipy.special import gammaln

    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
