"""The coverage study: how often 95% intervals of `cellassets.statistics.intervals` hold the truth, for few units too.

Units are drawn from a distribution whose mean is known. `coverage_section` is the part of the calibration page.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from cellassets.statistics.permutation import mean_over_nodes

SIZES = (3, 6, 12, 20, 50, 200)
SHARES = (0.02, 0.1, 0.5, 0.9)
CLIQUES = {3: 3, 6: 4, 12: 4, 20: 5, 50: 5, 200: 5}  # number of pairs to genes of one set; all pairs of a set count
GENE_SHARE = 0.5  # of the variance of a pair's similarity comes from its two genes
SCHEMA = {
    "units": pl.String,
    "n_units": pl.Int64,
    "n_seeds": pl.Int64,
    "coverage": pl.Float64,
    "mean_width": pl.Float64,
    "missing_frac": pl.Float64,
}
HEADING = """## Intervals: how often the 95% interval holds the truth

{n_seeds} draws per cell; in brackets the mean width. A method that is exactly right shows {low:.3f} to {high:.3f} in
most cells; below that is bold. *Pairs that share genes* are all pairs of genes of one set (3 genes for 3 pairs, 4 for 6
and 12, 5 for the others), and half of the variance of a pair comes from its two genes. The truth of few such pairs is
that of all sets, not only of those that were drawn. *Shares* are between 0 and 1, as average precisions are.
"""
Draw = Callable[[int, np.random.Generator], tuple[Float[np.ndarray, "row"], Int[np.ndarray, "row node"]]]


@dataclass(frozen=True)
class Population:
    """Units of one kind: how to draw some, their mean, and the range of their values."""

    units: str
    draw: Draw
    truth: float
    within: tuple[float, float]


def run_coverage(n_seeds: int) -> pl.DataFrame:
    """Returns one row per kind and number of units.

    `coverage` is the share of intervals that hold the truth, among those that are given; `missing_frac` the share of
    draws for which there is none (all values equal, and not at an end of their range).

    Args:
        n_seeds: draws of each row.
    """
    rows = [
        {"units": one.units, "n_units": n_units, **_covered(one, n_units, n_seeds)}
        for one in populations()
        for n_units in SIZES
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


def populations() -> list[Population]:
    """Returns the kinds of units: proportions of disjoint pairs and of pairs that share genes, and means."""
    share, endless = (0.0, 1.0), (-np.inf, np.inf)
    many_zeros = _alone(lambda n, rng: (rng.random(n) < 0.3) * rng.random(n))
    return [
        *(Population(f"recall {p:g}, disjoint pairs", _disjoint(p), p, share) for p in SHARES),
        *(Population(f"recall {p:g}, pairs that share genes", _sharing(p), p, share) for p in SHARES),
        Population("normal values", _alone(lambda n, rng: rng.standard_normal(n)), 0.0, endless),
        Population("exponential values", _alone(lambda n, rng: rng.exponential(size=n)), 1.0, endless),
        Population("shares, skewed (beta 0.5, 2)", _alone(lambda n, rng: rng.beta(0.5, 2.0, n)), 0.2, share),
        Population("shares, 70% exactly 0", many_zeros, 0.15, share),
        Population("normal values of pairs that share genes", _similarities, 0.0, endless),
    ]


def coverage_section(coverage: pl.DataFrame) -> str:
    """Returns the section of the calibration page as Markdown.

    Args:
        coverage: rows of `run_coverage`.
    """
    sizes = sorted(coverage["n_units"].unique().to_list())
    n_seeds = int(coverage["n_seeds"][0])
    noise = 2 * np.sqrt(0.95 * 0.05 / n_seeds)
    lines = [HEADING.format(n_seeds=n_seeds, low=0.95 - noise, high=0.95 + noise)]
    lines += [f"| units | {' | '.join(f'n = {n}' for n in sizes)} |", f"|{' --- |' * (1 + len(sizes))}"]
    for (units,), rows in coverage.group_by("units", maintain_order=True):
        by_size = {row["n_units"]: row for row in rows.iter_rows(named=True)}
        lines.append(f"| {units} | {' | '.join(_cell(by_size[n], 0.95 - noise) for n in sizes)} |")
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, Any], least: float) -> str:
    share = f"{row['coverage']:.3f}"
    return f"{f'**{share}**' if row['coverage'] < least else share} ({row['mean_width']:.2f})"


def _covered(population: Population, n_units: int, n_seeds: int) -> dict[str, float | int]:
    rng = np.random.default_rng((n_units, len(population.units)))
    held, widths = [], []
    for _ in range(n_seeds):
        values, nodes = population.draw(n_units, rng)
        low, high = mean_over_nodes(values, nodes).interval(within=population.within)
        if low is None or high is None:
            continue
        held.append(low <= population.truth <= high)
        widths.append(high - low)
    return {
        "n_seeds": n_seeds,
        "coverage": float(np.mean(held)),
        "mean_width": float(np.mean(widths)),
        "missing_frac": 1 - len(held) / n_seeds,
    }


def _alone(values: Callable[[int, np.random.Generator], np.ndarray]) -> Draw:
    """Units that are perturbations, each for itself."""
    return lambda n_units, rng: (values(n_units, rng).astype(np.float64), np.arange(n_units)[:, None])


def _disjoint(share: float) -> Draw:
    return lambda n_units, rng: (
        (rng.random(n_units) < share).astype(np.float64),
        np.arange(2 * n_units).reshape(-1, 2),
    )


def _sharing(share: float) -> Draw:
    from scipy.stats import norm

    least = float(norm.ppf(1 - share))

    def draw(n_units: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        similarities, pairs = _similarities(n_units, rng)
        return (similarities > least).astype(np.float64), pairs

    return draw


def _similarities(n_units: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """All pairs within sets of genes; half of the variance of a pair is that of its genes."""
    size = CLIQUES[n_units]
    n_sets = n_units // (size * (size - 1) // 2)
    pairs = np.array([pair for s in range(n_sets) for pair in combinations(range(s * size, (s + 1) * size), 2)])
    genes = rng.standard_normal(n_sets * size)[pairs].sum(axis=1) * np.sqrt(GENE_SHARE / 2)
    return genes + rng.standard_normal(len(pairs)) * np.sqrt(1 - GENE_SHARE), pairs
