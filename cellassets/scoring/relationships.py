"""Recall of known relationships: are genes that are known to belong together among the most extreme of all pairs?"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from cellassets.errors import BenchmarkError
from cellassets.mapping.relate import cosine_similarities
from cellassets.plates.layout import PAIR_SEPARATOR
from cellassets.scoring.catalogue.relationships import RelationshipParameters
from cellassets.scoring.definition import Score
from cellassets.scoring.judged import JudgedMap
from cellassets.scoring.statistics import (
    benjamini_hochberg,
    blocks,
    central,
    mean_over_nodes,
    permuted_within,
    settled_ties,
    upper_p_values,
)
from cellassets.scoring.strata import plate_strata
from cellassets.tables.parquet import vectors

Pairs = Int[np.ndarray, "pair 2"]
TIE_BREAK = 1e-6


@dataclass(frozen=True)
class _Tails:
    """Which pairs of the map's genes lie in the upper and in the lower tail, and the rank of each pair's cosine.

    `rank` is the share of all pairs with a cosine at most as large. Genes with one `stratum` share their plates.
    """

    genes: list[str]
    stratum: Int[np.ndarray, "gene"]
    is_upper: Bool[np.ndarray, "gene gene"]
    is_lower: Bool[np.ndarray, "gene gene"]
    rank: Float[np.ndarray, "gene gene"]
    n_pairs: int


def known_relationships(judged: JudgedMap, parameters: RelationshipParameters) -> list[Score]:
    """Returns the recall of annotated pairs in both tails of the cosines between genes, over all sources and by source.

    The null gives genes of the same plates each other's names: the same pairs, sharing genes as they do, between random
    genes, and whatever makes plates alike is in the null too. Intervals allow for pairs that share a gene. The
    p-value's statistic is the recall; equal recalls are told apart by the mean rank of the pairs, or p-values on few
    pairs would be coarse.

    Raises:
        BenchmarkError: there is no annotation source, or fewer annotated pairs in the map than `min_pairs`.

    Source: recall at the 5th and 95th percentile of Celik et al. (2024), PLOS Comput Biol 20:e1012463; the null is the
    permutation of nodes of Hubert (1987), Assignment Methods in Combinatorial Data Analysis.
    """
    if not judged.annotations.pairs:
        message = (
            "known_relationships: no annotation source; add a CSV with the columns entity1 and entity2 by `cellassets "
            "annotation add`, or put it into the lake's folder annotations/"
        )
        raise BenchmarkError(message)
    tails = _tails(judged, parameters.tail_frac)
    by_source = {name: _pair_index(pairs, tails.genes) for name, pairs in judged.annotations.pairs.items()}
    pooled = np.unique(np.concatenate(list(by_source.values())), axis=0)
    if len(pooled) < parameters.min_pairs:
        known = sum(len(pairs) for pairs in judged.annotations.pairs.values())
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


def pairs_in_map(judged: JudgedMap) -> dict[str, int]:
    """Returns how many pairs of each annotation source have both genes in the map."""
    genes = _genes(judged.map_table)["name"].to_list()
    return {name: len(_pair_index(pairs, genes)) for name, pairs in judged.annotations.pairs.items()}


def _genes(map_table: pl.DataFrame) -> pl.DataFrame:
    genes = map_table.filter((pl.col("perturbation_kind") == "gene") & pl.col("control_kind").is_null())
    return genes.with_columns(pl.coalesce("gene_symbol", "perturbation_id").alias("name")).sort("name")


def _tails(judged: JudgedMap, tail_frac: float) -> _Tails:
    genes = _genes(judged.map_table)
    names = genes["name"].to_list()
    if len(set(names)) < len(names):
        message = "known_relationships: the map has several rows a gene; set aggregate_by: gene in mapping.yaml"
        raise BenchmarkError(message)
    if len(names) < 3:
        message = f"known_relationships: {len(names)} genes in the map; relations need at least 3"
        raise BenchmarkError(message)
    cosines = cosine_similarities(vectors(genes))
    ordered = np.sort(cosines[np.triu_indices(len(names), 1)])
    low, high = np.quantile(ordered, [tail_frac, 1 - tail_frac])
    rank = np.searchsorted(ordered, cosines, side="right") / len(ordered)
    stratum = plate_strata(judged, genes["perturbation_id"].to_list())
    return _Tails(names, stratum, cosines > high, cosines < low, rank, len(ordered))


def _pair_index(pairs: pl.DataFrame, genes: list[str]) -> Pairs:
    """Places in `genes` of the pairs that are both there."""
    place = {gene: number for number, gene in enumerate(genes)}
    found = [
        sorted((place[first], place[second]))
        for first, second in pairs.select("entity1", "entity2").rows()
        if first in place and second in place
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _source_scores(suffix: str, pairs: Pairs, tails: _Tails, parameters: RelationshipParameters) -> list[Score]:
    """Rows of one source: recall in both tails, and in each."""
    return [
        _tail_score(f"recall{suffix}", pairs, tails, parameters, "both"),
        _tail_score(f"recall_similar{suffix}", pairs, tails, parameters, "similar"),
        _tail_score(f"recall_opposite{suffix}", pairs, tails, parameters, "opposite"),
    ]


def _tail_score(
    metric: str,
    pairs: Pairs,
    tails: _Tails,
    parameters: RelationshipParameters,
    tail: Literal["both", "similar", "opposite"],
) -> Score:
    is_extreme = {"both": tails.is_upper | tails.is_lower, "similar": tails.is_upper, "opposite": tails.is_lower}[tail]
    extremeness = {"both": np.abs(2 * tails.rank - 1), "similar": tails.rank, "opposite": 1 - tails.rank}[tail]
    weighted = is_extreme + TIE_BREAK * extremeness  # settles ties between equal recalls, and is never a pair's worth
    hits = is_extreme[pairs[:, 0], pairs[:, 1]].astype(np.float64)
    observed = weighted[pairs[:, 0], pairs[:, 1]].mean()
    null, null_weighted = _permuted_means(np.stack([is_extreme, weighted]), pairs, tails.stratum, parameters)
    mean = mean_over_nodes(hits, pairs)
    low, high = mean.interval(within=(0.0, 1.0))
    null_low, null_high = central(null)
    settled = settled_ties(np.concatenate([[observed], null_weighted])[:, None])
    return Score(
        metric,
        level="summary",
        value=mean.value,
        null_mean=float(null.mean()),
        null_low=null_low,
        null_high=null_high,
        p_value=float(upper_p_values(settled[0], settled[1:])[0]),
        interval_low=low,
        interval_high=high,
        n_units=len(pairs),
        unit="pair",
    )


def _permuted_means(
    tables: Float[np.ndarray, "table gene gene"],
    pairs: Pairs,
    stratum: Int[np.ndarray, "gene"],
    parameters: RelationshipParameters,
) -> Float[np.ndarray, "table draw"]:
    """Means of the tables over the pairs, with the genes' names permuted within strata."""
    rng = np.random.default_rng(parameters.seed)
    parts = []
    for n_draws in blocks(parameters.n_permutations, len(pairs)):
        genes = np.stack([permuted_within(stratum, rng) for _ in range(n_draws)])
        first, second = genes[:, pairs[:, 0]], genes[:, pairs[:, 1]]
        parts.append(np.stack([table[first, second].mean(axis=1) for table in tables]))
    return np.concatenate(parts, axis=1)


def _pair_scores(pairs: Pairs, tails: _Tails, parameters: RelationshipParameters) -> list[Score]:
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
