"""The calibration study of `cellassets.statistics.similarity_null`, on simulated maps with planted modules.

A module is a group of perturbations whose effects share a part; only pairs within a module are related.
`similarity_section` is the part of the calibration page.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from cellassets.mapping.relate import unit_rows
from cellassets.statistics.permutation import benjamini_hochberg
from cellassets.statistics.similarity_null import similarity_p_values, similarity_q_values

SIZES = (30, 100, 1000, 5000)
LEVELS = (0.05, 0.01, 0.001)
FDR = 0.1
MODULE_SIZES = (3, 20)
MAGNITUDE_SPREAD = 0.4  # standard deviation of the logarithm of effects' lengths
N_QUERIES = 100  # of each map
SCHEMA = {
    "map": pl.String,
    "n_partners": pl.Int64,
    "n_queries": pl.Int64,
    **{f"called_frac_{level:g}": pl.Float64 for level in LEVELS},
    "fdr": pl.Float64,
    "power": pl.Float64,
    "normal_fdr": pl.Float64,
    "refused_frac": pl.Float64,
}
HEADING = """## Similarity of two perturbations

Simulated maps of effects with noise; `make calibrate` draws them again. 30% of the perturbations (or the share that is
given) are in planted modules of 3 to 20; pairs within a module are related, all others are not. Share of p-values of
unrelated pairs at or below 0.05, 0.01 and 0.001; share of false calls (FDR) and power at a q-value of at most {fdr:g},
per query; FDR of the plain form (normal distribution, median, one width from both quartiles). *Refused* is the share
of queries without a null distribution. Above 0.12 is bold.
[statistics.md](statistics.md#similarity-of-two-perturbations) explains the method.
"""
Q_HEAD = ("map", "partners", "p ≤ 0.05", "p ≤ 0.01", "p ≤ 0.001", "FDR", "power", "FDR, plain form", "refused")


@dataclass(frozen=True)
class SimulatedSimilarities:
    """How a map is drawn.

    Attributes:
        name: for people.
        n_dimensions: of the map; noise has all of them.
        n_effect_dimensions: of the effects; None: as many as the map has.
        module_frac: share of perturbations that are in modules.
        within: cosine of the effects of one module.
        noise: length of the noise, compared with an effect of length 1.
        shared: length of a direction that all effects share, compared with their own part.
        shared_spread: standard deviation of the logarithm of that length, over perturbations.
    """

    name: str
    n_dimensions: int = 128
    n_effect_dimensions: int | None = None
    module_frac: float = 0.3
    within: float = 0.7
    noise: float = 0.5
    shared: float = 0.0
    shared_spread: float = 0.5


MAPS = (
    SimulatedSimilarities("16 dimensions, no modules", n_dimensions=16, module_frac=0.0),
    SimulatedSimilarities("16 dimensions", n_dimensions=16),
    SimulatedSimilarities("128 dimensions, 10% in modules", module_frac=0.1),
    SimulatedSimilarities("128 dimensions, 50% in modules", module_frac=0.5),
    SimulatedSimilarities("1,024 dimensions", n_dimensions=1024),
    SimulatedSimilarities("effects in 8 of 128 dimensions", n_effect_dimensions=8, within=0.9),
    SimulatedSimilarities("effects in 20 of 128 dimensions", n_effect_dimensions=20, within=0.8),
    SimulatedSimilarities("a shared direction, half as long", shared=0.5),
    SimulatedSimilarities("a shared direction, as long", shared=1.0),
    SimulatedSimilarities("a shared direction, as long, very unequal", shared=1.0, shared_spread=1.0),
    SimulatedSimilarities("a shared direction, twice as long", shared=2.0),
)


def run_similarity_study(
    n_queries: int = 1000, *, sizes: tuple[int, ...] = SIZES, maps: tuple[SimulatedSimilarities, ...] = MAPS
) -> pl.DataFrame:
    """Returns one row per kind of map and number of tested perturbations, with the columns of SCHEMA.

    Args:
        n_queries: perturbations whose similarities are tested, over several maps; about as many.
        sizes: numbers of tested perturbations of a map.
        maps: kinds of maps.
    """
    rows = [
        {"map": kind.name, "n_partners": size, **_measured(kind, size, n_queries)} for kind in maps for size in sizes
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


def _measured(kind: SimulatedSimilarities, size: int, n_queries: int) -> dict[str, float | int | None]:
    each = min(N_QUERIES, size + 1)
    queries = [one for seed in range(max(1, n_queries // each)) for one in _queries(kind, size, seed, each)]
    tested = [one for one in queries if not np.isnan(one.p_values).all()]
    unrelated = np.concatenate([np.empty(0), *(one.p_values[~one.is_related] for one in tested)])
    called = [similarity_q_values(one.p_values) <= FDR for one in tested]
    found = [calls[one.is_related] for calls, one in zip(called, tested, strict=True)]
    return {
        "n_queries": len(queries),
        **{f"called_frac_{level:g}": _mean(unrelated <= level) for level in LEVELS},
        "fdr": _mean([_false_frac(calls, one.is_related) for calls, one in zip(called, tested, strict=True)]),
        "power": _mean(np.concatenate([np.empty(0), *found])),
        "normal_fdr": _mean([_false_frac(_plain_calls(one.cosines), one.is_related) for one in queries]),
        "refused_frac": 1 - len(tested) / len(queries),
    }


@dataclass(frozen=True)
class _Query:
    cosines: Float[np.ndarray, "partner"]
    p_values: Float[np.ndarray, "partner"]
    is_related: Bool[np.ndarray, "partner"]


def _queries(kind: SimulatedSimilarities, size: int, seed: int, n_queries: int) -> list[_Query]:
    """Some perturbations of one map, each with its `size` partners."""
    rng = np.random.default_rng((seed, size, len(kind.name)))
    unit, module = simulate_map(kind, size + 1, rng)
    found = []
    for query in rng.permutation(size + 1)[:n_queries]:
        others = np.flatnonzero(np.arange(size + 1) != query)
        cosines = unit[others] @ unit[query]
        is_related = (module[others] == module[query]) & (module[query] >= 0)
        found.append(_Query(cosines, similarity_p_values(cosines, np.ones(size, dtype=bool)), is_related))
    return found


def simulate_map(
    kind: SimulatedSimilarities, size: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "perturbation feature"], Int[np.ndarray, "perturbation"]]:
    """Returns unit vectors of perturbations, and the number of the module of each; -1 without one.

    Args:
        kind: how the map is drawn.
        size: number of perturbations.
        rng: source of the draws.
    """
    n_own = kind.n_effect_dimensions or kind.n_dimensions
    module = _modules(round(kind.module_frac * size), size, rng)
    own = rng.standard_normal((size, n_own))
    centres, is_in = rng.standard_normal((size, n_own)), module >= 0
    own[is_in] = np.sqrt(kind.within) * centres[module[is_in]] + np.sqrt(1 - kind.within) * own[is_in]
    effects = np.zeros((size, kind.n_dimensions))
    effects[:, :n_own] = own / np.sqrt(n_own)
    lengths = np.exp(kind.shared_spread * rng.standard_normal(size) - kind.shared_spread**2 / 2)
    effects += kind.shared * lengths[:, None] * unit_rows(rng.standard_normal((1, kind.n_dimensions)))
    effects *= np.exp(MAGNITUDE_SPREAD * rng.standard_normal((size, 1)))
    noise = kind.noise * rng.standard_normal((size, kind.n_dimensions)) / np.sqrt(kind.n_dimensions)
    return unit_rows(effects + noise), module


def _modules(n_members: int, size: int, rng: np.random.Generator) -> Int[np.ndarray, "perturbation"]:
    module, start, number = np.full(size, -1), 0, 0
    while start < n_members:
        end = min(size, start + int(rng.integers(MODULE_SIZES[0], MODULE_SIZES[1] + 1)))
        module[start:end], start, number = number, end, number + 1
    return module


def _plain_calls(cosines: Float[np.ndarray, "partner"]) -> Bool[np.ndarray, "partner"]:
    from scipy.stats import norm

    z = np.arctanh(np.clip(cosines, -1 + 1e-7, 1 - 1e-7))
    low, centre, high = np.quantile(z, [0.25, 0.5, 0.75])
    return np.asarray(benjamini_hochberg(2 * norm.sf(np.abs(z - centre) * 1.349 / (high - low))) <= FDR)


def _false_frac(calls: Bool[np.ndarray, "partner"], is_related: Bool[np.ndarray, "partner"]) -> float:
    return float((calls & ~is_related).sum() / max(1, calls.sum()))


def _mean(values: object) -> float | None:
    numbers = np.asarray(values, dtype=np.float64)
    return float(numbers.mean()) if numbers.size else None


def similarity_section(study: pl.DataFrame) -> str:
    """Returns the section of the calibration page as Markdown.

    Args:
        study: rows of `run_similarity_study`.
    """
    lines = [HEADING.format(fdr=FDR), f"| {' | '.join(Q_HEAD)} |", f"|{' --- |' * len(Q_HEAD)}"]
    for row in study.iter_rows(named=True):
        called = [_cell(row[f"called_frac_{level:g}"], 4 if level < 0.01 else 3) for level in LEVELS]
        rates = [_rate(row["fdr"]), _cell(row["power"], 2), _rate(row["normal_fdr"])]
        cells = [row["map"], f"{row['n_partners']:,}", *called, *rates, f"{row['refused_frac']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: float | None, n_digits: int) -> str:
    return "" if value is None else f"{value:.{n_digits}f}"


def _rate(value: float | None) -> str:
    return f"**{value:.2f}**" if value is not None and value > 0.12 else _cell(value, 2)
