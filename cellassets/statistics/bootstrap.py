"""Confidence intervals from resampling the units of a mean: perturbations, or the genes that pairs share; never wells.

Bias-corrected and accelerated (BCa). The weights of a resample are counts of its nodes. A pair counts as often as both
its genes were drawn, so that pairs which share a gene are drawn together.
"""

import numpy as np
from jaxtyping import Float, Int

N_RESAMPLES = 2000
BLOCK_WEIGHTS = 1 << 22  # weights held at once: 32 MiB
LEVEL = 0.95


def bootstrap_interval(
    values: Float[np.ndarray, "row"],
    nodes: Int[np.ndarray, "row node"],
    *,
    shared_error: float = 0.0,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns the 95% BCa interval of the mean of the rows.

    Args:
        values: one value per row.
        nodes: numbers, from 0, of the nodes that each row depends on: one column for perturbations, two for pairs of
            genes.
        shared_error: standard error of what all rows share and resampling cannot show (controls); it is added to the
            resampled means as normal noise.
        seed: of the resampling.

    Returns:
        Lower and upper end; both are the mean itself where there is one node.

    Source: Efron (1987), J. Am. Stat. Assoc. 82:171, equations 2.3 and 6.6; resampling of nodes for pairs: Davezies,
    D'Haultfoeuille and Guyonvarch (2021), Ann. Stat. 49:845.
    """
    mean, n_nodes = float(values.mean()), int(nodes.max()) + 1
    if n_nodes < 2:
        return mean, mean
    rng = np.random.default_rng(seed)
    means = _resampled_means(values, nodes, n_nodes, rng)
    if shared_error > 0:
        means = means + shared_error * rng.standard_normal(len(means))
    if np.ptp(means) == 0:
        return mean, mean
    low, high = np.quantile(means, _corrected_levels(means, mean, _jackknife(values, nodes, n_nodes)))
    return float(min(low, mean)), float(max(high, mean))


def _resampled_means(
    values: Float[np.ndarray, "row"], nodes: Int[np.ndarray, "row node"], n_nodes: int, rng: np.random.Generator
) -> Float[np.ndarray, "resample"]:
    """Means of the resamples; a resample without any row (few pairs) is left out."""
    found = []
    n_block = max(1, BLOCK_WEIGHTS // max(n_nodes, len(values)))
    for start in range(0, N_RESAMPLES, n_block):
        n_draws = min(n_block, N_RESAMPLES - start)
        counts = rng.multinomial(n_nodes, np.full(n_nodes, 1 / n_nodes), size=n_draws).astype(np.float64)
        weights = np.prod([counts[:, column] for column in nodes.T], axis=0)
        total = weights.sum(axis=1)
        found.append((weights[total > 0] @ values) / total[total > 0])
    return np.concatenate(found)


def _jackknife(
    values: Float[np.ndarray, "row"], nodes: Int[np.ndarray, "row node"], n_nodes: int
) -> Float[np.ndarray, "name"]:
    """The mean without each node's rows; where no rows are left, the mean of all rows."""
    sums, counts = np.zeros(n_nodes), np.zeros(n_nodes)
    for column in nodes.T:
        sums += np.bincount(column, values, n_nodes)
        counts += np.bincount(column, minlength=n_nodes)
    left = len(values) - counts
    return np.divide(values.sum() - sums, left, out=np.full(n_nodes, values.mean()), where=left > 0)


def _corrected_levels(
    means: Float[np.ndarray, "resample"], mean: float, without: Float[np.ndarray, "name"]
) -> Float[np.ndarray, "end"]:
    from scipy.stats import norm

    below = np.mean(means < mean) + 0.5 * np.mean(means == mean)
    bias = norm.ppf(np.clip(below, 1 / (len(means) + 1), len(means) / (len(means) + 1)))
    away = without.mean() - without
    spread = float((away**2).sum()) ** 1.5
    acceleration = float((away**3).sum()) / (6 * spread) if spread > 0 else 0.0
    edges = norm.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return np.asarray(norm.cdf(bias + (bias + edges) / (1 - acceleration * (bias + edges))))
