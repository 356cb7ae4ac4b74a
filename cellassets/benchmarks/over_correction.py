"""Over-correction: a nuisance, such as the batch effect, that is found less often than chance would find it.

A benchmark of a nuisance is better the lower its value, down to chance. Below chance something else is wrong: the map
was changed by more than the nuisance. Such a benchmark publishes, beside its headline, by how much the headline is
below the mean of its null distribution; the p-value of that row is the lower tail of the same draws.
"""

from dataclasses import dataclass

import polars as pl

from cellassets.benchmarks.definition import Benchmark
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL

# With few draws no two-sided p-value can be small: the 15 groupings of six plates in three batches give at least 0.13.
# A value below all of them is said too, from ten groupings on, with its p-value.
SIGN_LEVEL = 2 * SIGNIFICANCE_LEVEL


@dataclass(frozen=True)
class OverCorrected:
    """A headline below its null distribution.

    Attributes:
        value: the headline.
        null_low: 2.5th percentile of its null distribution.
        null_high: 97.5th percentile.
        p_value: two-sided: twice the lower tail.
        meaning: what it means for this benchmark.
    """

    value: float
    null_low: float
    null_high: float
    p_value: float
    meaning: str

    def describe(self) -> str:
        """Returns the finding in one sentence."""
        is_certain = self.p_value <= SIGNIFICANCE_LEVEL
        doubt = "" if is_certain else "; with so few units or permutations it cannot be smaller"
        verdict = "Over-corrected" if is_certain else "Perhaps over-corrected"
        null = f"{self.null_low:.2f} to {self.null_high:.2f} (two-sided p = {self.p_value:.2g}{doubt})"
        return f"{verdict}: {self.value:.2f} where the null distribution is {null}: {self.meaning}."


def over_corrections(benchmark: Benchmark, scores: pl.DataFrame) -> list[OverCorrected]:
    """Returns the headlines that are below their null distributions: of one model at most one for each protocol.

    A headline counts if its two-sided p-value is at most 0.05. It counts too if it is below the central 95% of its null
    distribution and at most a tenth of the draws are as low (`SIGN_LEVEL`), which is nearly the same with 100 draws.

    Args:
        benchmark: the benchmark; one that declares no over-correction has none.
        scores: its SCORES rows of one model.
    """
    if benchmark.over_correction is None:
        return []
    summary = scores.filter(pl.col("level") == "summary")
    headlines = {
        row["protocol_fingerprint"]: row
        for row in summary.filter(pl.col("metric") == benchmark.headline_metric).iter_rows(named=True)
    }
    found = []
    for row in summary.filter(pl.col("metric") == benchmark.over_correction.metric).iter_rows(named=True):
        headline = headlines[row["protocol_fingerprint"]]
        value, low, high = headline["value"], headline["null_low"], headline["null_high"]
        p_value = min(1.0, 2 * row["p_value"])
        if p_value <= SIGNIFICANCE_LEVEL or (value < low and row["p_value"] <= SIGN_LEVEL):
            found.append(OverCorrected(value, low, high, p_value, benchmark.over_correction.meaning))
    return found
