"""Non-parametric statistics: permutations, ranks within a null distribution, corrections, intervals of means.

Pure functions of arrays. Draws are a matrix of draws x units: the statistic of every unit under every permutation.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from cellassets.errors import StatisticsError
from cellassets.finite import finite_arguments
from cellassets.statistics.intervals import Interval, dependent_squares, free_nodes, mean_interval

Nodes = Shaped[np.ndarray, "row node"]  # numbers or names
BLOCK_VALUES = 1 << 22  # values held at once in a loop over draws: 32 MiB
N_DIGITS = 10


@finite_arguments(StatisticsError)
def upper_p_values(
    observed: Float[np.ndarray, "unit"], null: Float[np.ndarray, "draw unit"]
) -> Float[np.ndarray, "unit"]:
    """Returns one-sided p-values: (1 + draws at least as large) / (1 + draws).

    Source: Phipson and Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9:39; a permutation p-value is never 0.
    """
    return (1 + (null >= observed).sum(axis=0)) / (1 + len(null))


@finite_arguments(StatisticsError)
def settled_ties(draws: Float[np.ndarray, "draw unit"]) -> Float[np.ndarray, "draw unit"]:
    """Returns the draws rounded to 10 digits of the largest.

    A permutation that gives back the observed labels must tie with the observed statistic. Sums in another order differ
    in the last bits, and would count as smaller half of the time.
    """
    scale = float(np.abs(draws).max(initial=0.0))
    return np.round(draws / scale, N_DIGITS) * scale if scale > 0 else draws


@finite_arguments(StatisticsError)
def null_percentiles(draws: Float[np.ndarray, "draw unit"]) -> Float[np.ndarray, "draw unit"]:
    """Returns the percentile of each value among all draws of its unit: mean rank / number of draws, in (0, 1).

    The observed statistics are one of the draws, so all rows are exchangeable, and a mean over units can be judged by
    its own permutations.
    """
    from scipy.stats import rankdata

    return (rankdata(draws, axis=0) - 0.5) / len(draws)


@finite_arguments(StatisticsError)
def benjamini_hochberg(p_values: Float[np.ndarray, "unit"]) -> Float[np.ndarray, "unit"]:
    """Returns q-values: the smallest false discovery rate at which each p-value would be called.

    Source: Benjamini and Hochberg (1995), J. R. Stat. Soc. B 57:289, as scipy has it.
    """
    from scipy.stats import false_discovery_control

    if not all(0 <= end <= 1 for end in (np.min(p_values, initial=0.0), np.max(p_values, initial=1.0))):
        message = f"benjamini_hochberg: p-values from {np.min(p_values)} to {np.max(p_values)}; expected 0 to 1"
        raise StatisticsError(message)

    return np.asarray(false_discovery_control(p_values)) if len(p_values) else p_values


@dataclass(frozen=True)
class Mean:
    """A mean over rows with its standard error and degrees of freedom.

    Attributes:
        value: the mean.
        standard_error: of the mean, including what rows share.
        shared_error: the part of it that all rows share, which their own spread cannot show.
        n_free: degrees of freedom: nodes less one, fewer where some nodes have many more rows than others.
        rows: the values.
        nodes: numbers of the nodes that each row depends on.
    """

    value: float
    standard_error: float
    shared_error: float
    n_free: int
    rows: Float[np.ndarray, "row"]
    nodes: Int[np.ndarray, "row node"]

    @property
    def n_units(self) -> int:
        """Rows that the mean is taken over."""
        return len(self.rows)

    @property
    def n_nodes(self) -> int:
        """Nodes that the rows depend on."""
        return int(self.nodes.max()) + 1

    def interval(self, *, within: tuple[float, float] = (-np.inf, np.inf)) -> Interval:
        """Returns the 95% interval, cut to the range of the statistic; None twice where none can be given.

        It is exact for proportions (all rows at one or the other end of the range), and allows for skewed values.
        """
        errors = {"standard_error": self.standard_error, "shared_error": self.shared_error}
        return mean_interval(self.rows, self.nodes, **errors, n_free=self.n_free, within=within)

    def student_interval(self) -> tuple[float, float]:
        """Returns the 95% interval by Student's t; it agrees with `two_sided_p_value`."""
        from scipy.stats import t

        half = float(t.ppf(0.975, self.n_free)) * self.standard_error if self.standard_error > 0 else 0.0
        return self.value - half, self.value + half

    def two_sided_p_value(self) -> float:
        """Returns the p-value of a mean of 0, by Student's t.

        It is never below `least_p_value`: values that are all equal have no spread to judge them by.
        """
        from scipy.stats import t

        least = least_p_value(float(self.n_free))
        if self.standard_error == 0:
            return 1.0 if self.value == 0 else least
        return float(min(1.0, max(least, 2 * t.sf(abs(self.value) / self.standard_error, self.n_free))))


def least_p_value(n_free: float) -> float:
    """Returns the smallest two-sided p-value from flipping the signs of n_free + 1 values: 2^-n_free."""
    return 2.0**-n_free


@finite_arguments(StatisticsError)
def mean_over_nodes(
    values: Float[np.ndarray, "row"], nodes: Nodes, *, influences: Float[np.ndarray, "shared"] | None = None
) -> Mean:
    """Returns the mean of values that depend on each other where they share a node or a well.

    If one node is in all of several rows, nothing is known about the spread of nodes: the standard error is infinite.

    Args:
        values: one value per row.
        nodes: nodes that each row depends on: its perturbation, or the two genes of a pair. Residuals of rows that
            share a node may be correlated; the products of all such residuals are in the variance.
        influences: by how much the mean would fall without each well that all rows share (a control), where there are
            such.

    Source: `dependent_squares`, `free_nodes`; Efron and Stein (1981), Ann. Stat. 9:586, the jackknife, for the
    influences.
    """
    if not len(values):
        message = "mean_over_nodes: there are no values; expected one per row"
        raise StatisticsError(message)
    residuals = values - values.mean()
    names, index = np.unique(nodes, return_inverse=True)
    index = index.reshape(nodes.shape)
    dependent, own = dependent_squares(residuals, index), float((residuals**2).sum())
    n_free = free_nodes(index)
    variance = max(dependent, own) / len(values) ** 2 * len(names) / max(len(names) - 1, 1)
    shared = 0.0 if influences is None else float((influences**2).sum())
    return Mean(float(values.mean()), float(np.sqrt(variance + shared)), float(np.sqrt(shared)), n_free, values, index)


@finite_arguments(StatisticsError)
def standardised(value: float, null: Float[np.ndarray, "draw"]) -> float | None:
    """Returns (value - mean of the null) / standard deviation of the null; None where the null has no spread."""
    if np.ptp(null) == 0:
        return None
    return (value - float(null.mean())) / float(null.std())


def share_of_possible(value: float, null_mean: float, end: float) -> float | None:
    """Returns (value - mean of the null) / (end of the scale - mean of the null): 0 by chance, 1 at the end.

    It is negative where the value is on the other side of chance. Its expectation does not depend on the number of
    units that the value is a mean of, unlike that of a z score.

    Args:
        value: the statistic.
        null_mean: its expectation by chance.
        end: the largest value that it can have; the smallest, where small values are the extreme ones.

    Returns:
        None where the scale has no end, or chance is at its end.

    Source: the correction for chance of Hubert and Arabie (1985), J. Classif. 2:193, equation 3; kappa of Cohen (1960),
    Educ. Psychol. Meas. 20:37, is this share of an accuracy.
    """
    if not np.isfinite(end) or end == null_mean:
        return None
    return (value - null_mean) / (end - null_mean)


@finite_arguments(StatisticsError)
def central(draws: Float[np.ndarray, "draw"]) -> tuple[float, float]:
    """Returns the 2.5th and the 97.5th percentile of a null distribution."""
    low, high = np.quantile(draws, [0.025, 0.975])
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
