"""95% confidence intervals of means over units (perturbations, or pairs of genes), for few units too; never over wells.

Closed forms, without resampling: a proportion has an exact interval, any other mean a Student interval whose skewness
is taken out. `cellassets.studies.coverage` measures how often they hold the truth.
"""

import numpy as np
from jaxtyping import Float, Int

from cellassets.errors import StatisticsError
from cellassets.finite import finite_arguments

LEVEL = 0.95
TAIL = (1 - LEVEL) / 2
Interval = tuple[float, float] | tuple[None, None]
Rows = Float[np.ndarray, "row"]
NodesOf = Int[np.ndarray, "row node"]


def degrees_of(nodes: NodesOf) -> Float[np.ndarray, "name"]:
    """Returns the number of rows of each node."""
    n_nodes = int(nodes.max()) + 1
    return np.stack([np.bincount(column, minlength=n_nodes) for column in nodes.T]).sum(axis=0).astype(np.float64)


def free_nodes(nodes: NodesOf) -> int:
    """Returns the degrees of freedom of a mean over rows that share nodes, at least 1.

    With equally many rows per node it is the number of nodes less one. A node with many rows (a hub) has a larger part
    in the variance. With a few hubs there are about as many degrees of freedom as hubs: those of a sum of squares whose
    weights grow with the square of the number of rows.

    Source: Satterthwaite (1946), Biometrics Bull. 2:110.
    """
    weights = degrees_of(nodes) ** 2
    return max(int(weights.sum() ** 2 / (weights**2).sum() + 1e-9) - 1, 1)


@finite_arguments(StatisticsError)
def dependent_squares(residuals: Rows, nodes: NodesOf) -> float:
    """Returns the sum of the products of residuals over all rows that share a node, each row with itself once.

    The residuals of a node are too small, because the node has a share in the mean: those of a node with all rows add
    up to 0. The total of a node is divided by the share of the rows without it, as in the jackknife over nodes.

    Returns:
        Infinity if one node has all of several rows.

    Source: Aronow, Samii and Assenova (2015), Polit. Anal. 23:564, for rows that share nodes; Bell and McCaffrey
    (2002), Surv. Methodol. 28:169, for the division.
    """
    if len(residuals) == 1:
        return float(residuals[0] ** 2)
    degrees = degrees_of(nodes)
    n_nodes, rest = len(degrees), 1 - degrees / len(residuals)
    if not rest.all():
        return float("inf")
    scale = (1 - 1 / n_nodes) / rest
    totals = np.stack([np.bincount(column, residuals, n_nodes) for column in nodes.T]).sum(axis=0)
    # the square of a node's total holds all pairs of its rows; a row, in the squares of all its nodes, counts once
    twice = (scale**2)[nodes].mean(axis=1) * (nodes.shape[1] - 1)
    return float(((scale * totals) ** 2).sum()) - float((residuals**2 * twice).sum())


@finite_arguments(StatisticsError)
def mean_interval(
    rows: Rows, nodes: NodesOf, *, standard_error: float, shared_error: float, n_free: int, within: tuple[float, float]
) -> Interval:
    """Returns the 95% interval of the mean of the rows; nothing where nothing can be said.

    Rows that are all at one or the other end of the range (a recall: found or not) are a proportion. Rows that are all
    equal say nothing about their spread, and have an interval only where they are all at one end of a finite range:
    that of a proportion of 0, which holds for every distribution within the range.

    Args:
        rows: one value per unit.
        nodes: numbers, from 0, of the nodes that each row depends on: one column for perturbations, two for pairs.
        standard_error: of the mean, with what rows share.
        shared_error: the part of it that all rows share (controls).
        n_free: degrees of freedom of the mean.
        within: the range of the statistic.

    Returns:
        Lower and upper end, cut to the range; None twice with a single node, where all rows share one node, and where
        all rows are equal and not at an end of a finite range.
    """
    low, high = within
    if len(rows) < 2 or np.isinf(standard_error):
        return None, None
    if np.isfinite([low, high]).all() and np.isin(rows, [low, high]).all():
        hits = (rows == high).astype(np.float64)
        ends = proportion_interval(float(hits.mean()), effective_number(hits, nodes, shared_error / (high - low)))
        return low + (high - low) * ends[0], low + (high - low) * ends[1]
    if np.ptp(rows) == 0:
        return None, None
    n_apart = max((n_free + 1) // nodes.shape[1] - 1, 1)  # as many pairs as share no gene; n_free held 91 to 93%
    skewness = _skewness_of_mean(rows, nodes, standard_error)
    ends = skewed_interval(float(rows.mean()), standard_error, n_apart, skewness=skewness)
    return max(ends[0], low), min(ends[1], high)


def proportion_interval(share: float, n_effective: float) -> tuple[float, float]:
    """Returns the interval of Clopper and Pearson (1934) of a proportion; exact where `n_effective` is a count.

    Args:
        share: the observed proportion.
        n_effective: number of independent trials that would be as informative.

    Source: Korn and Graubard (1998), Surv. Methodol. 24:193, for numbers of trials that are not whole.
    """
    from scipy.stats import beta

    if not (0 <= share <= 1 and 0 <= n_effective < np.inf):
        message = (
            f"proportion_interval: a share of {share} among {n_effective} trials; expected a share from 0 to 1 and a "
            "number of trials of 0 or more"
        )
        raise StatisticsError(message)
    n_hits = share * n_effective
    n_misses = n_effective - n_hits
    low = float(beta.ppf(TAIL, n_hits, n_misses + 1)) if n_hits > 0 else 0.0
    high = float(beta.ppf(1 - TAIL, n_hits + 1, n_misses)) if n_misses > 0 else 1.0
    return low, high


@finite_arguments(StatisticsError)
def effective_number(hits: Rows, nodes: NodesOf, shared_error: float) -> float:
    """Returns the number of independent rows that would be as informative as these rows, at most their number.

    Rows that share no node count in full. The design effect of rows that share nodes is estimated from their residuals;
    with few nodes that estimate is uncertain, so it is never below the share `1 / n_hits` (or misses) of the largest
    possible one, where the correlation of two rows with a node in common is 1/2.

    Source: Korn and Graubard (1998), Surv. Methodol. 24:193, with their correction for degrees of freedom; the largest
    correlation: Hoeffding (1948), Ann. Math. Stat. 19:293, for a symmetric function of two independent nodes.
    """
    from scipy.stats import t

    n_rows, degrees = len(hits), degrees_of(nodes)
    residuals = hits - hits.mean()
    own = float((residuals**2).sum())
    n_sharing = float((degrees**2).sum() - degrees.sum()) / n_rows  # other rows that a row shares a node with
    largest = 1 + (n_sharing / 2 if nodes.shape[1] > 1 else n_sharing)
    if own == 0:
        return n_rows / largest
    estimated = max(dependent_squares(residuals, nodes) / own, 1.0) if n_sharing else 1.0
    n_rare = min(hits.sum(), n_rows - hits.sum())
    design = max(estimated, 1 + (largest - 1) / np.sqrt(n_rare)) + shared_error**2 * n_rows**2 / own
    if n_sharing == 0:
        return n_rows / design
    certainty = t.ppf(1 - TAIL, n_rows - 1) / t.ppf(1 - TAIL, free_nodes(nodes))
    return float(n_rows / design * min(certainty, 1.0) ** 2)


def skewed_interval(mean: float, standard_error: float, n_free: int, *, skewness: float) -> tuple[float, float]:
    """Returns Student's interval of a mean, and where the mean is skewed the longer of it and Hall's at each end.

    Student's interval of skewed values is too short at their longer tail. Hall's monotone transformation of the
    t statistic, g(t) = t + a t^2 + a^2 t^3 / 3 + skewness / 6 with a = skewness / 3, takes the skewness out; its
    inverse gives the ends. Hall's other end would be shorter than Student's; both are kept, because the skewness of few
    values is not known well.

    Args:
        mean: the mean.
        standard_error: its standard error.
        n_free: degrees of freedom.
        skewness: of the mean (that of the values, divided by the root of their number).

    Source: Hall (1992), J. R. Stat. Soc. B 54:221.
    """
    from scipy.stats import t

    edge = float(t.ppf(1 - TAIL, n_free))
    bends = [edge, -edge]
    if abs(skewness) > 1e-9:  # below, rounding is larger than the bend
        slope = skewness / 3
        bends = [float((np.cbrt(1 + 3 * slope * (y - skewness / 6)) - 1) / slope) for y in bends]
    low, high = (mean - standard_error * bend for bend in bends)
    return min(low, mean - edge * standard_error), max(high, mean + edge * standard_error)


def _skewness_of_mean(rows: Rows, nodes: NodesOf, standard_error: float) -> float:
    """Skewness of the mean, from its jackknife over nodes; what all rows share is not skewed."""
    n_nodes = int(nodes.max()) + 1
    if n_nodes < 3 or standard_error == 0:
        return 0.0
    away = rows.mean() - _jackknife(rows, nodes, n_nodes)
    away = away - away.mean()
    spread = float((away**2).sum())
    if spread == 0:
        return 0.0
    unbiased = np.sqrt(n_nodes * (n_nodes - 1)) / (n_nodes - 2)
    own = min(1.0, spread * (n_nodes - 1) / n_nodes / standard_error**2)
    return float((away**3).sum() / spread**1.5 * unbiased * own**1.5)


def _jackknife(rows: Rows, nodes: NodesOf, n_nodes: int) -> Float[np.ndarray, "name"]:
    """The mean without each node's rows; where no rows are left, the mean of all rows."""
    sums, counts = np.zeros(n_nodes), np.zeros(n_nodes)
    for column in nodes.T:
        sums += np.bincount(column, rows, n_nodes)
        counts += np.bincount(column, minlength=n_nodes)
    left = len(rows) - counts
    return np.divide(rows.sum() - sums, left, out=np.full(n_nodes, rows.mean()), where=left > 0)
