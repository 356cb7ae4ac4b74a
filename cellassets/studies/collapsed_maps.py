"""Collapsed maps: everything has one vector, or few vectors, whatever the labels say. None may score above chance.

Vectors are drawn without a look at the labels, so there is nothing to find; what could look like an effect are ties and
rounding errors. Maps of one vector are refused by every benchmark; poor maps are refused or score at chance.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from jaxtyping import Float

from cellassets.benchmarks.definition import Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL
from cellassets.studies.simulated import simulate_map
from cellassets.synthetic.embeddings import SimulatedWells
from cellassets.tables.parquet import with_vectors

Family = Callable[[int, np.random.Generator], Float[np.ndarray, "row feature"]]
N_DIMENSIONS = 8
N_PERMUTATIONS = 99
SCREEN = SimulatedWells(
    n_guides_per_gene=2,
    n_compounds=8,
    n_doses=3,
    n_combinations=6,
    n_lone_genes=12,
    n_positive_controls=3,
    n_annotated_compounds=30,
    gene_effect=0.0,
    seed=3,
)
SCHEMA = {
    "benchmark_name": pl.String,
    "family": pl.String,
    "seed": pl.Int64,
    "is_refused": pl.Boolean,
    "gain": pl.Float64,
    "spread": pl.Float64,
    "p_value": pl.Float64,
}


def _directions(n_rows: int, rng: np.random.Generator) -> Float[np.ndarray, "row feature"]:
    return rng.standard_normal((n_rows, N_DIMENSIONS))


def _constant(n_rows: int, _rng: np.random.Generator) -> Float[np.ndarray, "row feature"]:
    return np.ones((n_rows, N_DIMENSIONS))


def _rounding_noise(n_rows: int, rng: np.random.Generator) -> Float[np.ndarray, "row feature"]:
    """As large as the rounding of single precision, in which vectors are stored."""
    return 1 + 2.0**-24 * _directions(n_rows, rng)


def _zeros(n_rows: int, _rng: np.random.Generator) -> Float[np.ndarray, "row feature"]:
    return np.zeros((n_rows, N_DIMENSIONS))


def _one_dimension(n_rows: int, rng: np.random.Generator) -> Float[np.ndarray, "row feature"]:
    return rng.standard_normal((n_rows, 1))


def _rank_one(n_rows: int, rng: np.random.Generator) -> Float[np.ndarray, "row feature"]:
    return rng.standard_normal((n_rows, 1)) * _directions(1, rng)


def _one_direction(n_rows: int, rng: np.random.Generator) -> Float[np.ndarray, "row feature"]:
    return rng.uniform(0.5, 2.0, (n_rows, 1)) * _directions(1, rng)


def _half_sharing(n_rows: int, rng: np.random.Generator) -> Float[np.ndarray, "row feature"]:
    values = _directions(n_rows, rng)
    values[rng.permutation(n_rows)[: n_rows // 2]] = _directions(1, rng)
    return values


def _duplicated(n_rows: int, rng: np.random.Generator) -> Float[np.ndarray, "row feature"]:
    return _directions(n_rows, rng)[rng.integers(n_rows // 2, size=n_rows)]


def _two_clusters(n_rows: int, rng: np.random.Generator) -> Float[np.ndarray, "row feature"]:
    return _directions(2, rng)[rng.integers(2, size=n_rows)]


def _two_rays(n_rows: int, rng: np.random.Generator) -> Float[np.ndarray, "row feature"]:
    return _two_clusters(n_rows, rng) * rng.uniform(0.5, 2.0, (n_rows, 1))


EQUAL: dict[str, Family] = {"constant": _constant, "rounding noise": _rounding_noise, "zeros": _zeros}
POOR: dict[str, Family] = {
    "one dimension": _one_dimension,
    "rank one": _rank_one,
    "one direction": _one_direction,
    "half share one vector": _half_sharing,
    "duplicated": _duplicated,
    "two clusters": _two_clusters,
    "two clusters, any length": _two_rays,
}
FAMILIES = EQUAL | POOR


def collapsed_map(screen: JudgedMap, family: str, seed: int) -> JudgedMap:
    """Returns the screen with vectors of a family for its wells, its map and its other maps, in single precision.

    Args:
        screen: a map, whose labels and layout are kept.
        family: one of `FAMILIES`.
        seed: of the vectors.
    """
    tables = {"wells": screen.wells, "map": screen.map_table, **screen.other_maps}
    heights = [table.height for table in tables.values()]
    values = FAMILIES[family](sum(heights), np.random.default_rng(seed)).astype(np.float32)
    parts = dict(zip(tables, np.split(values, np.cumsum(heights)[:-1]), strict=True))
    made = {name: with_vectors(table, parts[name]) for name, table in tables.items()}
    return replace(
        screen,
        wells=made["wells"],
        vectors=parts["wells"],
        map_table=made["map"],
        other_maps={name: made[name] for name in screen.other_maps},
    )


def collapsed_study(names: Sequence[str], *, n_seeds: int) -> pl.DataFrame:
    """Returns one row per benchmark, family and seed: refused, or the gain of the headline over chance and its p-value.

    Where lower is better, the gain is that of a lower value. The spread is the standard deviation of the null
    distribution.

    Args:
        names: benchmarks.
        n_seeds: maps of every family of poor maps; of maps of one vector there is one.
    """
    screen = simulate_map(SCREEN, n_other_maps=1)
    rows = [
        {
            "benchmark_name": name,
            "family": family,
            "seed": seed,
            **_found(name, collapsed_map(screen, family, seed), seed),
        }
        for name in names
        for family in FAMILIES
        for seed in range(1 if family in EQUAL else n_seeds)
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


def _found(name: str, judged: JudgedMap, seed: int) -> dict[str, object]:
    headline = headline_of(name, judged, seed)
    if headline is None:
        return {"is_refused": True}
    sign = 1 if BENCHMARKS[name].is_higher_better else -1
    return {
        "is_refused": False,
        "gain": sign * (headline.value - headline.null_mean),
        "spread": (headline.null_high - headline.null_low) / 4,  # 95% of a null distribution are four deviations
        "p_value": headline.p_value,
    }


def headline_of(name: str, judged: JudgedMap, seed: int) -> Score | None:
    """Returns a benchmark's headline; None where it refuses the map as collapsed, or does not apply.

    Args:
        name: a benchmark.
        judged: the map.
        seed: not that of the map: both would draw the same random numbers.

    Raises:
        BenchmarkError: the map is refused for another reason.
    """
    chosen = BENCHMARKS[name]
    try:
        rows = chosen.score(judged, chosen.parameters(n_permutations=N_PERMUTATIONS, seed=seed + 10_000))
    except BenchmarkError as refusal:
        if not isinstance(refusal, NotApplicable) and "collapsed" not in str(refusal):
            raise
        return None
    return next(row for row in rows if row.level == "summary" and row.metric == chosen.headline_metric)


def collapsed_section(study: pl.DataFrame) -> str:
    """Returns the section of the calibration page about collapsed maps.

    Args:
        study: rows of `collapsed_study`.
    """
    words = (
        f"{study['seed'].n_unique()} maps of every family, with vectors that are drawn without a look at the labels. "
        "In brackets: the mean gain over chance, in standard deviations of the null distribution (0 where it has none)."
    )
    lines = [
        "## Collapsed maps: fraction of p-values at or below 0.05",
        "",
        words,
        "",
        _line(["benchmark", *FAMILIES]),
        _line(["---"] * (1 + len(FAMILIES))),
    ]
    for (name,), rows in study.group_by("benchmark_name", maintain_order=True):
        cells = [_cell(rows.filter(pl.col("family") == family)) for family in FAMILIES]
        lines.append(_line([str(name), *cells]))
    return "\n".join(lines) + "\n"


def _cell(rows: pl.DataFrame) -> str:
    scored = rows.filter(~pl.col("is_refused"))
    if scored.is_empty():
        return "refused"
    share = float((scored["p_value"].to_numpy() <= SIGNIFICANCE_LEVEL).mean())
    spread = float(scored["spread"].to_numpy().mean())
    gain = float(scored["gain"].to_numpy().mean()) / spread if spread > 0 else 0.0
    return f"{share:.2f} ({gain:+.2f})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
