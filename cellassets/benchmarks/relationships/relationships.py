"""Recall of known relationships: are annotated gene pairs among the most extreme pairs of the map?"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int
from pydantic import Field

from cellassets.benchmarks.definition import NameParameters, Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.map_genes import map_genes
from cellassets.benchmarks.strata import check_exchange
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.knowledge.letter_case import other_case_note
from cellassets.mapping.relate import COSINE_ROUNDING, cosine_similarities
from cellassets.screens.landed import PAIR_SEPARATOR
from cellassets.statistics.permutation import (
    benjamini_hochberg,
    blocks,
    central,
    mean_over_nodes,
    permuted_within,
    settled_ties,
    share_of_possible,
    standardised,
    upper_p_values,
)

Pairs = Int[np.ndarray, "pair 2"]
Counts = Int[np.ndarray, "..."]
TIE_BREAK = 1e-6


@dataclass(frozen=True)
class _Ranks:
    """The place of every pair of the map's genes among all counted pairs; combinations of genes are left out.

    `n_at_most` is the number of counted pairs with a cosine at most as large, and `n_below` of those with a smaller
    one; cosines that differ by `COSINE_ROUNDING` or less are equal. `is_counted` is false for pairs of one chromosome
    (or arm) where these are left out. Genes with one `stratum` share their plates.
    """

    genes: list[str]
    stratum: Int[np.ndarray, "gene"]
    n_at_most: Int[np.ndarray, "gene gene"]
    n_below: Int[np.ndarray, "gene gene"]
    is_counted: Bool[np.ndarray, "gene gene"]
    n_pairs: int

    def at(self, first: Counts, second: Counts) -> tuple[Counts, Counts]:
        """Returns both counts of some pairs."""
        return self.n_at_most[first, second], self.n_below[first, second]


class RelationshipParameters(NameParameters):
    """Which pairs count as extreme, and which pairs count at all.

    The first of `tail_fracs` is the share of all pairs in each tail that the headline counts; recall at the others is
    reported too. `leave_out_within` removes pairs of genes on one chromosome, or on one arm, from the annotated pairs
    and from all others (knocking out a gene may remove the rest of the arm). At least `min_pairs` annotated pairs must
    have both genes in the map.
    """

    tail_fracs: tuple[Annotated[float, Field(gt=0, lt=0.5)], ...] = Field(
        default=(0.05, 0.1),
        min_length=1,
        description="Shares of all pairs that count as extreme, in each tail; the first one makes the headline",
    )
    leave_out_within: Literal["nothing", "chromosome", "arm"] = Field(
        default="nothing", description="Pairs of genes on one chromosome, or on one arm, that are left out"
    )
    min_pairs: int = Field(default=5, ge=1, description="Annotated pairs with both genes in the map that are needed")
    n_permutations: int = Field(default=2000, ge=99)


def known_relationships(judged: JudgedMap, parameters: RelationshipParameters) -> list[Score]:
    """Returns the recall of annotated pairs in both tails of the cosines between genes, over all sources and by source.

    In the null distribution genes of the same plates exchange names: the pairs keep their number and the genes that
    they share, and similarity of plates is in the null distribution too. Intervals allow for pairs that share a gene.
    The p-value is that of the recall; ties of recalls are broken by the mean rank of the pairs, because p-values from
    few pairs would otherwise be coarse.

    A pair is in the upper tail where at least the share 1 - `tail_frac` of all pairs has a smaller cosine, and in the
    lower tail where at most the share `tail_frac` has one that is as small or smaller. Of pairs with equal cosines all
    count as if they were the least extreme, so a tail never holds more than its share, and a map of equal vectors
    recalls nothing.

    Raises:
        NotApplicable: there is no annotation source of pairs or sets, or no gene in the map.
        BenchmarkError: fewer than `min_pairs` annotated pairs are in the map, or chromosome arms are needed and not
            known.

    Source: recall at the 5th and 95th percentile of Celik et al. (2024), PLOS Comput Biol 20:e1012463, with the same
    values; the null distribution is the permutation of nodes of Hubert (1987), Assignment Methods in Combinatorial Data
    Analysis.
    """
    if not judged.annotations.pairs:
        message = "no annotation source of pairs or sets; add one by `cellassets annotation add`"
        raise NotApplicable(message)
    ranks = _ranks(judged, parameters)
    by_source = {name: _counted_pairs(pairs, ranks) for name, pairs in judged.annotations.pairs.items()}
    pooled = np.unique(np.concatenate(list(by_source.values())), axis=0)
    if len(pooled) < parameters.min_pairs:
        known = sum(pairs.height for pairs in judged.annotations.pairs.values())
        annotated = {
            name for pairs in judged.annotations.pairs.values() for name in {*pairs["entity1"], *pairs["entity2"]}
        }
        message = (
            f"known_relationships: of {known} annotated pairs {len(pooled)} have both genes among the map's "
            f"{len(ranks.genes)}, fewer than min_pairs {parameters.min_pairs}; are the gene symbols of the same kind?"
            f"{other_case_note(annotated, ranks.genes)}"
        )
        raise BenchmarkError(message)
    rows = _source_scores("", pooled, ranks, parameters)
    if len(by_source) > 1:
        for name, pairs in by_source.items():
            if len(pairs) >= parameters.min_pairs:
                rows += _source_scores(f"[{name}]", pairs, ranks, parameters)
    return [*rows, *_pair_scores(pooled, ranks, parameters)]


def _ranks(judged: JudgedMap, parameters: RelationshipParameters) -> _Ranks:
    genes = map_genes(judged, "known_relationships", parameters)
    if len(genes.names) < 3:
        message = f"{len(genes.names)} genes in the map; relations need at least 3"
        raise NotApplicable(message)
    check_exchange("known_relationships", genes.stratum, what="genes")
    is_counted = _counted(judged, genes.names, parameters)
    cosines = cosine_similarities(genes.vectors)
    ordered = np.sort(cosines[np.triu(is_counted, 1)])
    n_at_most = np.searchsorted(ordered, cosines + COSINE_ROUNDING, side="right").astype(np.int32)
    n_below = np.searchsorted(ordered, cosines - COSINE_ROUNDING, side="left").astype(np.int32)
    return _Ranks(genes.names, genes.stratum, n_at_most, n_below, is_counted, len(ordered))


def _counted(judged: JudgedMap, genes: list[str], parameters: RelationshipParameters) -> Bool[np.ndarray, "gene gene"]:
    """Pairs of different genes, without those of one chromosome or arm on request; genes of unknown arm count."""
    is_counted = ~np.eye(len(genes), dtype=bool)
    if parameters.leave_out_within == "nothing":
        return is_counted
    if not judged.annotations.gene_arms:
        message = (
            f"known_relationships: leave_out_within is {parameters.leave_out_within!r} and no annotation source says "
            "where genes are; add a CSV with the columns gene_symbol and chromosome_arm"
        )
        raise BenchmarkError(message)
    arm_of = judged.annotations.arm_of_gene()
    arms = [arm_of.get(gene) for gene in genes]
    places = arms if parameters.leave_out_within == "arm" else [arm and arm[:-1] for arm in arms]
    named = np.array([place or f"unknown {number}" for number, place in enumerate(places)])
    return is_counted & (named[:, None] != named[None, :])


def _pair_index(pairs: pl.DataFrame, genes: list[str]) -> Pairs:
    """Places in `genes` of the pairs with both genes there."""
    place = {gene: number for number, gene in enumerate(genes)}
    found = [
        sorted((place[first], place[second]))
        for first, second in pairs.select("entity1", "entity2").rows()
        if first in place and second in place
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _counted_pairs(pairs: pl.DataFrame, ranks: _Ranks) -> Pairs:
    found = _pair_index(pairs, ranks.genes)
    return found[ranks.is_counted[found[:, 0], found[:, 1]]]


def _extremes(
    counts: tuple[Counts, Counts], n_pairs: int, tail_frac: float
) -> dict[str, tuple[Bool[np.ndarray, "..."], Float[np.ndarray, "..."]]]:
    """By tail: whether pairs with these counts are in it, and how far out they are (by the mean rank of their tie)."""
    n_at_most, n_below = counts
    is_similar, is_opposite = n_below / n_pairs >= 1 - tail_frac - 1e-12, n_at_most / n_pairs <= tail_frac + 1e-12
    rank = (n_at_most + n_below + 1) / (2 * n_pairs)
    return {
        "": (is_similar | is_opposite, np.abs(2 * rank - 1)),
        "_similar": (is_similar, rank),
        "_opposite": (is_opposite, 1 - rank),
    }


def _source_scores(suffix: str, pairs: Pairs, ranks: _Ranks, parameters: RelationshipParameters) -> list[Score]:
    """Rows of one source: recall in both tails and in each, at every threshold."""
    observed = ranks.at(pairs[:, 0], pairs[:, 1])
    null = _permuted_recalls(pairs, ranks, parameters)
    rows = []
    for tail_frac in parameters.tail_fracs:
        at = "" if tail_frac == parameters.tail_fracs[0] else f"@{tail_frac:g}"
        for tail, (is_extreme, outwards) in _extremes(observed, ranks.n_pairs, tail_frac).items():
            weighted = (is_extreme + TIE_BREAK * outwards).mean()
            name = f"recall{tail}{at}{suffix}"
            rows.append(_tail_score(name, pairs, is_extreme.astype(np.float64), (weighted, null[tail_frac, tail])))
    return rows


def _tail_score(
    metric: str, pairs: Pairs, hits: Float[np.ndarray, "pair"], judged: tuple[float, Float[np.ndarray, "two draw"]]
) -> Score:
    """One row. `judged` is the observed weighted recall, and recall and weighted recall under the null distribution."""
    weighted, (null, null_weighted) = judged
    mean = mean_over_nodes(hits, pairs)
    low, high = mean.interval(within=(0.0, 1.0))
    null_low, null_high = central(null)
    settled = settled_ties(np.concatenate([[weighted], null_weighted])[:, None])
    # a recall that no permutation changes shows nothing, whatever the ranks say that break ties
    is_constant = bool((null == mean.value).all())
    return Score(
        metric,
        level="summary",
        value=mean.value,
        null_mean=float(null.mean()),
        null_low=null_low,
        null_high=null_high,
        p_value=1.0 if is_constant else float(upper_p_values(settled[0], settled[1:])[0]),
        interval_low=low,
        interval_high=high,
        n_units=len(pairs),
        unit="pair",
        z_score=standardised(mean.value, null),
        effect_size=share_of_possible(mean.value, float(null.mean()), 1.0),
    )


def _permuted_recalls(
    pairs: Pairs, ranks: _Ranks, parameters: RelationshipParameters
) -> dict[tuple[float, str], Float[np.ndarray, "two draw"]]:
    """By threshold and tail: recall and weighted recall with the genes' names permuted within strata.

    Permuted pairs that are not counted are left out of the mean, like annotated ones.
    """
    rng = np.random.default_rng(parameters.seed)
    parts: dict[tuple[float, str], list[np.ndarray]] = {}
    for n_draws in blocks(parameters.n_permutations, 4 * len(pairs)):
        genes = np.stack([permuted_within(ranks.stratum, rng) for _ in range(n_draws)])
        first, second = genes[:, pairs[:, 0]], genes[:, pairs[:, 1]]
        drawn, is_counted = ranks.at(first, second), ranks.is_counted[first, second]
        n_counted = np.maximum(is_counted.sum(axis=1), 1)
        for tail_frac in parameters.tail_fracs:
            for tail, (is_extreme, outwards) in _extremes(drawn, ranks.n_pairs, tail_frac).items():
                recall = (is_extreme & is_counted).sum(axis=1) / n_counted
                weight = TIE_BREAK * (outwards * is_counted).sum(axis=1) / n_counted
                parts.setdefault((tail_frac, tail), []).append(np.stack([recall, recall + weight]))
    return {key: np.concatenate(found, axis=1) for key, found in parts.items()}


def _pair_scores(pairs: Pairs, ranks: _Ranks, parameters: RelationshipParameters) -> list[Score]:
    """One row per pair: recalled or not. Its p-value is its rank among all pairs of the map, in both tails."""
    tail_frac = parameters.tail_fracs[0]
    n_at_most, n_below = ranks.at(pairs[:, 0], pairs[:, 1])
    from_above = 1 - (n_below + 1) / ranks.n_pairs + 1 / ranks.n_pairs
    p_values = np.minimum(1.0, 2 * np.minimum(n_at_most / ranks.n_pairs, from_above))
    is_hit, _ = _extremes((n_at_most, n_below), ranks.n_pairs, tail_frac)[""]
    q_values = benjamini_hochberg(p_values)
    return [
        Score(
            "pair_recalled",
            level="perturbation",
            perturbation_id=PAIR_SEPARATOR.join((ranks.genes[first], ranks.genes[second])),
            value=float(is_hit[row]),
            null_mean=2 * tail_frac,
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
