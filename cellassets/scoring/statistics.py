"""Non-parametric statistics that benchmarks share: permutations, ranks within a null, corrections, intervals.

Pure functions of arrays. Draws are a matrix of draws x units: the statistic of every unit under every permutation.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

Nodes = Int[np.ndarray, "row node"]
BLOCK_VALUES = 1 << 22  # values held at once in a loop over draws: 32 MiB
N_DIGITS = 10


def upper_p_values(
    observed: Float[np.ndarray, "unit"], null: Float[np.ndarray, "draw unit"]
) -> Float[np.ndarray, "unit"]:
    """Returns one-sided p-values: (1 + draws at least as large) / (1 + draws).

    Source: Phipson and Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9:39; a permutation p-value is never 0.
    """
    return (1 + (null >= observed).sum(axis=0)) / (1 + len(null))


def settled_ties(draws: Float[np.ndarray, "draw unit"]) -> Float[np.ndarray, "draw unit"]:
    """Returns the draws rounded to 10 digits of the largest.

    A permutation that gives back the observed labels must tie with what was observed. Sums in another order differ in
    the last bits, and would count it as smaller half the time.
    """
    scale = float(np.abs(draws).max(initial=0.0))
    return np.round(draws / scale, N_DIGITS) * scale if scale > 0 else draws


def null_percentiles(draws: Float[np.ndarray, "draw unit"]) -> Float[np.ndarray, "draw unit"]:
    """Returns where each value lies among all draws of its unit: mean rank / number of draws, in (0, 1), ties shared.

    With the observed statistics as one of the draws, every row is the same kind of thing, so that a mean over units
    can be judged by its own permutations.
    """
    from scipy.stats import rankdata

    return (rankdata(draws, axis=0) - 0.5) / len(draws)


def benjamini_hochberg(p_values: Float[np.ndarray, "unit"]) -> Float[np.ndarray, "unit"]:
    """Returns q-values: the smallest false discovery rate at which each p-value would be called.

    Source: Benjamini and Hochberg (1995), J. R. Stat. Soc. B 57:289.
    """
    n = len(p_values)
    order = np.argsort(p_values)[::-1]
    stepped = np.minimum.accumulate(p_values[order] * n / np.arange(n, 0, -1))
    q_values = np.empty(n)
    q_values[order] = np.minimum(stepped, 1.0)
    return q_values


def bootstrap_means(
    values: Float[np.ndarray, "row"], nodes: Nodes, *, n_resamples: int, seed: int
) -> Float[np.ndarray, "resample"]:
    """Returns the mean of the values in resamples of their nodes.

    Args:
        values: one a row.
        nodes: what each row depends on: a perturbation, or the two genes of a pair. A row counts as often as the
            product of how often its nodes were drawn. Resamples in which no row counts are left out.
        n_resamples: resamples to draw.
        seed: decides them.

    Source: Efron (1979) for one node a row; the vertex bootstrap of Snijders and Borgatti (1999), Connections 22:161,
    for pairs, which share genes and are not independent.
    """
    rng = np.random.default_rng(seed)
    names, index = np.unique(nodes, return_inverse=True)
    index = index.reshape(nodes.shape)
    means = []
    for n_draws in blocks(n_resamples, max(len(values), len(names))):
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), n_draws).astype(np.float64)
        weights = counts[:, index[:, 0]]
        for column in index.T[1:]:
            weights *= counts[:, column]
        totals = weights.sum(axis=1)
        is_drawn = totals > 0
        means.append(weights[is_drawn] @ values / totals[is_drawn])
    return np.concatenate(means)


def interval(draws: Float[np.ndarray, "draw"], coverage: float = 0.95) -> tuple[float, float]:
    """Returns the central interval of draws (the percentile interval of a bootstrap)."""
    low, high = np.quantile(draws, [(1 - coverage) / 2, (1 + coverage) / 2])
    return float(low), float(high)


def permuted_within(groups: Int[np.ndarray, "row"], rng: np.random.Generator) -> Int[np.ndarray, "row"]:
    """Returns the rows in random order, each row replaced by one of its own group."""
    order = np.argsort(groups, kind="stable")
    shuffled = np.lexsort((rng.random(len(groups)), groups))
    permutation = np.empty(len(groups), dtype=np.int64)
    permutation[order] = shuffled
    return permutation


def blocks(n_draws: int, n_values: int) -> Iterator[int]:
    """Yields numbers of draws that sum to `n_draws`, each with at most `BLOCK_VALUES` values in all.

    Args:
        n_draws: draws to make.
        n_values: values that one draw holds.
    """
    n_block = max(1, BLOCK_VALUES // max(n_values, 1))
    for start in range(0, n_draws, n_block):
        yield min(n_block, n_draws - start)
