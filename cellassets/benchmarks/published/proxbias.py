"""Proximity bias as proxbias publishes it: are genes of one chromosome arm more similar than genes of different arms?

The input is one vector and one arm per gene. The Monte-Carlo form of the score (random pairs, combined p-values) is
left out: it estimates the same probability.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from cellassets.benchmarks.published.checked import Names, checked_names, matrix_arguments
from cellassets.benchmarks.published.groups import cosines_to_all
from cellassets.errors import BenchmarkError
from cellassets.finite import finite_arguments
from cellassets.mapping.relate import unit_rows

N_LEAST_PAIRS = 20  # an arm with no more pairs than this has no row

SCHEMA = {
    "arm": pl.String,
    **dict.fromkeys(("statistic", "probability", "p_value"), pl.Float64),
    **dict.fromkeys(("n_within", "n_between"), pl.Int64),
}

Genes = Float[np.ndarray, "gene feature"]
Counts = Int[np.ndarray, "within"]


@dataclass(frozen=True)
class BrunnerMunzel:
    """Brunner and Munzel's test of x against y: P(x > y) + P(x = y) / 2, its z, and the p-value of "larger".

    z and p-value are NaN where all values are equal, as in the reference: there is nothing to test.
    """

    statistic: float
    probability: float
    p_value: float
    n_within: int
    n_between: int


@matrix_arguments("genes")
@finite_arguments(BenchmarkError, genes=("arm", "gene on"))
def proximity_bias(
    genes: Genes, arm: Names, *, arms: Sequence[str] | None = None
) -> tuple[BrunnerMunzel, pl.DataFrame]:
    """Returns the test of cosines within against between arms: of the whole genome, and of each arm.

    The whole genome's between-arm pairs are those of each arm with all others, so each counts twice, as in the
    reference. Only the cosines of a few arms are held at once.

    Args:
        genes: one vector per gene.
        arm: chromosome arm of each gene.
        arms: arms to test, in order; None: all. Genes of other arms still count as "between".

    Returns:
        The whole genome, and a table: arm, statistic, probability, p_value, n_within, n_between, bonferroni_p_value
        (p_value times the arms of the table, not cut at 1); no row of an arm with 20 pairs or fewer.

    Raises:
        BenchmarkError: no arm has two genes, or there is one arm; a gene has no arm, or a vector that is not finite.

    Source: Lazar et al. (2024), Nat. Genet. 56:1482; Brunner and Munzel (2000), Biom. J. 42:17, with the normal
    distribution.
    """
    arm = checked_names("proximity_bias", arm, len(genes), what="arms")
    unit = unit_rows(genes)
    listed = np.unique(arm) if arms is None else np.asarray(arms)
    own_rows = [np.flatnonzero(arm == name) for name in listed]
    within = {str(name): _within(unit[own]) for name, own in zip(listed, own_rows, strict=True)}
    everything = np.sort(np.concatenate(list(within.values())))
    below, at_most, n_between = np.zeros(len(everything), dtype=np.int64), np.zeros(len(everything), dtype=np.int64), 0
    rows = []
    for (name, own), genes_of_arm, cosines in zip(
        within.items(), own_rows, cosines_to_all(unit, own_rows), strict=True
    ):
        between = np.sort(np.delete(cosines, genes_of_arm, axis=1), axis=None)
        below += np.searchsorted(between, everything, side="left")
        at_most += np.searchsorted(between, everything, side="right")
        n_between += len(between)
        if min(len(own), len(between)) > N_LEAST_PAIRS:
            test = brunner_munzel(own, between)
            rows.append({"arm": name, **vars(test)})
    if len(everything) < 2 or n_between < 2:
        message = (
            f"proximity_bias: {len(everything)} pairs within {len(listed)} arms, {n_between} between; needs 2 of each"
        )
        raise BenchmarkError(message)
    table = pl.DataFrame(rows, schema=SCHEMA).with_columns((pl.col("p_value") * len(rows)).alias("bonferroni_p_value"))
    return _from_counts(everything, below, at_most, n_between), table


@finite_arguments(BenchmarkError)
def brunner_munzel(within: Float[np.ndarray, "within"], between: Float[np.ndarray, "between"]) -> BrunnerMunzel:
    """Returns the test of `within` being larger; `scipy.stats.brunnermunzel` gives the statistic with the other sign.

    Args:
        within: at least 2 values.
        between: at least 2 values, in ascending order.

    Raises:
        BenchmarkError: a sample has fewer than 2 values, or `between` is not in ascending order.

    Source: Brunner and Munzel (2000), Biom. J. 42:17.
    """
    if min(len(within), len(between)) < 2:
        message = f"brunner_munzel: {len(within)} values within, {len(between)} between; needs 2 of each"
        raise BenchmarkError(message)
    if (between[1:] < between[:-1]).any():
        message = "brunner_munzel: between is not in ascending order; sort it first"
        raise BenchmarkError(message)
    ordered = np.sort(within)
    below, at_most = (np.searchsorted(between, ordered, side=side) for side in ("left", "right"))
    return _from_counts(ordered, below, at_most, len(between))


def _within(unit: Float[np.ndarray, "own feature"]) -> Float[np.ndarray, "pair"]:
    return (unit @ unit.T)[np.triu_indices(len(unit), 1)]


def _from_counts(within: Float[np.ndarray, "within"], below: Counts, at_most: Counts, n_between: int) -> BrunnerMunzel:
    """The test, from the numbers of between-values below, and at or below, each within-value (ascending).

    A placement is the number of values of the other sample that are smaller, ties counted half. Placements of
    between-values are constant between within-values, so they are computed in steps.
    """
    from scipy.stats import norm

    n_within = len(within)
    placements = (below + at_most) / 2
    probability = float(placements.mean() / n_between)
    # between two distinct within-values a placement is what lies left of it; at one, half of its equals besides
    firsts = np.flatnonzero(np.diff(within, prepend=-np.inf))
    n_smaller = np.append(firsts, n_within)
    gaps = np.diff(np.concatenate([[0], np.stack([below[firsts], at_most[firsts]], axis=1).ravel(), [n_between]]))
    steps = np.concatenate(
        [n_smaller[:1], np.stack([(n_smaller[:-1] + n_smaller[1:]) / 2, n_smaller[1:]], axis=1).ravel()]
    )
    centre = n_within * (1 - probability)
    variance_within = placements.var(ddof=1)
    variance_between = float((gaps * (steps - centre) ** 2).sum()) / (n_between - 1)
    spread = np.sqrt(n_within * variance_within + n_between * variance_between)
    difference = n_within * n_between * (probability - 0.5)
    without_spread = math.nan if difference == 0 else math.copysign(math.inf, difference)
    statistic = float(difference / spread) if spread > 0 else without_spread
    return BrunnerMunzel(statistic, probability, float(norm.sf(statistic)), n_within, n_between)
