"""Recall of known relationships: are genes that are known to belong together among the most extreme of all pairs?"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int
from pydantic import Field

from cellassets.configuration import Parameters
from cellassets.errors import BenchmarkError
from cellassets.mapping.relate import cosine_similarities
from cellassets.scoring.definition import JudgedMap, RankedBy, Score, benchmark
from cellassets.scoring.statistics import benjamini_hochberg, bootstrap_means, interval, upper_p_values
from cellassets.tables.parquet import vectors

PAIR_SEPARATOR = "|"
TIE_BREAK = 1e-6


class RelationshipParameters(Parameters):
    """Which pairs count as extreme, and how many permutations and resamples.

    `tail_frac` of all pairs of the map lie in each tail. `min_pairs` annotated pairs must have both genes in the map.
    """

    tail_frac: float = Field(default=0.05, gt=0, lt=0.5)
    min_pairs: int = Field(default=5, ge=1)
    n_permutations: int = Field(default=2000, ge=99)
    n_resamples: int = Field(default=2000, ge=100)
    seed: int = 0


@dataclass(frozen=True)
class _Tails:
    """Which pairs of the map's genes lie in the upper and in the lower tail, and the rank of each pair's cosine.

    `rank` is the share of all pairs with a cosine at most as large.
    """

    genes: list[str]
    is_upper: Bool[np.ndarray, "gene gene"]
    is_lower: Bool[np.ndarray, "gene gene"]
    rank: Float[np.ndarray, "gene gene"]
    n_pairs: int


@benchmark(
    title="Recall of known relationships",
    description=(
        "Share of known gene pairs that lie among the 5% most similar or the 5% most opposite pairs of the map; 0.1 by "
        "chance, 1 at best."
    ),
    code_version="1",
    parameters=RelationshipParameters,
    ranked_by=RankedBy("recall", "pair_recalled"),
    uses_annotations=True,
)
def known_relationships(judged: JudgedMap, parameters: RelationshipParameters) -> list[Score]:
    """Returns the recall of annotated pairs in both tails of the cosines between genes, over all sources and by source.

    The null gives the map's genes each other's names: the same pairs, sharing genes as they do, between random genes.
    Intervals resample genes, not pairs, for the same reason. The p-value's statistic is the recall; equal recalls are
    told apart by the mean rank of the pairs, or p-values on few pairs would be coarse.

    Raises:
        BenchmarkError: there is no annotation source, or fewer annotated pairs in the map than `min_pairs`.

    Source: recall at the 5th and 95th percentile of Celik et al. (2024), PLOS Comput Biol 20:e1012463; the null is the
    permutation of nodes of Hubert (1987), Assignment Methods in Combinatorial Data Analysis.
    """
    if not judged.known_pairs:
        message = (
            "known_relationships: no annotation source; add a CSV with the columns entity1 and entity2 by `cellassets "
            "annotation add`, or put it into the lake's folder annotations/"
        )
        raise BenchmarkError(message)
    tails = _tails(judged.map_table, parameters.tail_frac)
    by_source = {name: _pair_index(pairs, tails.genes) for name, pairs in judged.known_pairs.items()}
    pooled = np.unique(np.concatenate(list(by_source.values())), axis=0)
    if len(pooled) < parameters.min_pairs:
        known = sum(len(pairs) for pairs in judged.known_pairs.values())
        message = (
            f"known_relationships: of {known} annotated pairs {len(pooled)} have both genes among the map's "
            f"{len(tails.genes)}, fewer than min_pairs {parameters.min_pairs}; are the gene symbols of the same kind?"
        )
        raise BenchmarkError(message)
    rows = _source_scores("", pooled, tails, parameters)
    if len(by_source) > 1:
        for name, pairs in by_source.items():
            if len(pairs) >= parameters.min_pairs:
                rows += _source_scores(f"[{name}]", pairs, tails, parameters)
    return [*rows, *_pair_scores(pooled, tails, parameters)]


def _tails(map_table: pl.DataFrame, tail_frac: float) -> _Tails:
    genes = map_table.filter((pl.col("perturbation_kind") == "gene") & pl.col("control_kind").is_null())
    name = pl.coalesce("gene_symbol", "perturbation_id")
    genes = genes.with_columns(name.alias("name")).sort("name")
    names = genes["name"].to_list()
    if len(set(names)) < len(names):
        message = "known_relationships: the map has several rows a gene; set aggregate_by: gene in mapping.yaml"
        raise BenchmarkError(message)
    if len(names) < 3:
        message = f"known_relationships: {len(names)} genes in the map; relations need at least 3"
        raise BenchmarkError(message)
    cosines = cosine_similarities(vectors(genes))
    upper = np.triu_indices(len(names), 1)
    low, high = np.quantile(cosines[upper], [tail_frac, 1 - tail_frac])
    ordered = np.sort(cosines[upper])
    rank = np.searchsorted(ordered, cosines, side="right") / len(ordered)
    return _Tails(names, cosines > high, cosines < low, rank, len(ordered))


def _pair_index(pairs: pl.DataFrame, genes: list[str]) -> Int[np.ndarray, "pair 2"]:
    """Places in `genes` of the pairs that are both there."""
    place = {gene: number for number, gene in enumerate(genes)}
    found = [
        sorted((place[first], place[second]))
        for first, second in pairs.select("entity1", "entity2").rows()
        if first in place and second in place
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _source_scores(
    suffix: str, pairs: Int[np.ndarray, "pair 2"], tails: _Tails, parameters: RelationshipParameters
) -> list[Score]:
    rng = np.random.default_rng(parameters.seed)
    n_genes = len(tails.genes)
    nodes = np.stack([rng.permutation(n_genes) for _ in range(parameters.n_permutations)])
    tables = {
        "recall": (tails.is_upper | tails.is_lower, np.abs(2 * tails.rank - 1)),
        "recall_similar": (tails.is_upper, tails.rank),
        "recall_opposite": (tails.is_lower, 1 - tails.rank),
    }
    rows = []
    for metric, (is_extreme, extremeness) in tables.items():
        hits = is_extreme[pairs[:, 0], pairs[:, 1]].astype(np.float64)
        places = nodes[:, pairs[:, 0]], nodes[:, pairs[:, 1]]
        null = is_extreme[places].mean(axis=1)
        tie_break = (
            TIE_BREAK * extremeness[pairs[:, 0], pairs[:, 1]].mean(),
            TIE_BREAK * extremeness[places].mean(axis=1),
        )
        low, high = interval(bootstrap_means(hits, pairs, n_resamples=parameters.n_resamples, seed=parameters.seed))
        null_low, null_high = interval(null)
        rows.append(
            Score(
                f"{metric}{suffix}",
                level="summary",
                value=float(hits.mean()),
                null_mean=float(null.mean()),
                null_low=null_low,
                null_high=null_high,
                p_value=float(
                    upper_p_values(hits.mean(keepdims=True) + tie_break[0], (null + tie_break[1])[:, None])[0]
                ),
                interval_low=low,
                interval_high=high,
                n_units=len(pairs),
                unit="pair",
            )
        )
    return rows


def _pair_scores(pairs: Int[np.ndarray, "pair 2"], tails: _Tails, parameters: RelationshipParameters) -> list[Score]:
    """A row a pair: recalled or not. Its p-value is its rank among all pairs of the map, both tails."""
    rank = tails.rank[pairs[:, 0], pairs[:, 1]]
    p_values = np.minimum(1.0, 2 * np.minimum(rank, 1 - rank + 1 / tails.n_pairs))
    is_hit = (tails.is_upper | tails.is_lower)[pairs[:, 0], pairs[:, 1]]
    q_values = benjamini_hochberg(p_values)
    return [
        Score(
            "pair_recalled",
            level="perturbation",
            perturbation_id=PAIR_SEPARATOR.join((tails.genes[first], tails.genes[second])),
            value=float(is_hit[row]),
            null_mean=2 * parameters.tail_frac,
            null_low=0.0,
            null_high=1.0,
            p_value=float(p_values[row]),
            q_value=float(q_values[row]),
            correction="benjamini_hochberg",
            n_units=1,
            unit="pair",
        )
        for row, (first, second) in enumerate(pairs)
    ]
