"""Targets of compounds: is a compound more similar to its known targets than to other genes?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int
from pydantic import Field

from cellassets.benchmarks.definition import NameParameters, Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.map_genes import MapGenes, map_genes
from cellassets.benchmarks.rows import summary_score, unit_scores
from cellassets.benchmarks.strata import check_exchange
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.finite import finite_arguments
from cellassets.mapping.relate import settled_cosines, unit_rows
from cellassets.statistics.node_permutation import node_permutations
from cellassets.statistics.permutation import blocks, mean_over_nodes
from cellassets.tables.parquet import vectors


class TargetParameters(NameParameters):
    """The genes that a compound's targets are ranked among.

    `candidates`: the map's genes that are targets of some compound (`targets`), or all its genes (`all_genes`).
    """

    candidates: Literal["targets", "all_genes"] = Field(
        default="targets", description="The genes that are ranked: targets of some compound, or all genes of the map"
    )


def compound_targets(judged: JudgedMap, parameters: TargetParameters) -> list[Score]:
    """Returns average precision and AUROC of each compound's targets among genes, over all sources and by source.

    The score of a gene is the largest |cosine| to the compound over its doses. In the null distribution candidates of
    the same plates exchange names; the largest over doses is taken there too. Where candidates are targets of some
    compound, a gene is not ranked high only because it is well known and strong, as most targets are.

    Raises:
        NotApplicable: there is no source of targets, no compound, or no compound with a target and another gene among
            the candidates.

    Source: compound-gene benchmark of RxRx3-core, Kraus et al. (2025), arXiv:2503.20158. There negatives are sampled,
    so published numbers are on another scale; here every candidate that is not a target is a negative.
    """
    sources = judged.annotations.targets
    if not sources:
        message = (
            "compound_targets: no source of targets; add a CSV with the columns compound_id and gene_symbol by "
            "`cellassets annotation add`"
        )
        raise NotApplicable(message)
    compounds = judged.map_table.filter(
        (pl.col("perturbation_kind") == "compound")
        & pl.col("control_kind").is_null()
        & pl.col("compound_id").is_not_null()
    ).sort("compound_id", "perturbation_id")
    genes = map_genes(judged, "compound_targets", parameters)
    pooled = _asked(compounds, genes, list(sources.values()), parameters.candidates)
    if pooled is None:
        message = (
            f"compound_targets: the map has {compounds['compound_id'].n_unique()} compounds and {len(genes.names)} "
            f"genes, and of {sum(rows.height for rows in sources.values())} known targets none is of such a "
            "compound and among such genes, with another candidate"
        )
        raise NotApplicable(message)
    check_exchange("compound_targets", pooled.stratum, what="candidate genes")
    draws = _draws(pooled, parameters)
    rows = _summaries("", draws)
    if len(sources) > 1:
        for name, source in sources.items():
            asked = _asked(compounds, genes, [source], parameters.candidates)
            rows += [] if asked is None else _summaries(f"[{name}]", _draws(asked, parameters))
    for metric, values in draws.items():
        rows += unit_scores(metric, pooled.names, values, n_wells=pooled.n_wells, end=1.0)
    return rows


@dataclass(frozen=True)
class _Asked:
    """Compounds with targets, the rank of every candidate gene for each compound, and which candidates are targets.

    `rank_low` of a gene is the number of candidates that are at least as similar to the compound; in `rank_mean` ties
    count half. Candidates with one `stratum` share their plates.
    """

    names: list[str]
    n_wells: Int[np.ndarray, "compound"]
    rank_low: Float[np.ndarray, "compound gene"]
    rank_mean: Float[np.ndarray, "compound gene"]
    is_target: Bool[np.ndarray, "compound gene"]
    stratum: Int[np.ndarray, "gene"]


def _asked(compounds: pl.DataFrame, genes: MapGenes, sources: Sequence[pl.DataFrame], candidates: str) -> _Asked | None:
    """None where no compound has both a target and another gene among the candidates."""
    from scipy.stats import rankdata

    targets = pl.concat(rows.select("compound_id", "gene_symbol") for rows in sources).unique()
    is_candidate = np.ones(len(genes.names), dtype=bool)
    if candidates == "targets":
        is_candidate = np.isin(genes.names, targets["gene_symbol"].to_list())
    gene_of = {genes.names[place]: number for number, place in enumerate(np.flatnonzero(is_candidate))}
    names = sorted(set(compounds["compound_id"].to_list()) & set(targets["compound_id"].to_list()))
    compound_of = {name: number for number, name in enumerate(names)}
    is_target = np.zeros((len(names), len(gene_of)), dtype=bool)
    for compound, gene in targets.rows():
        if compound in compound_of and gene in gene_of:
            is_target[compound_of[compound], gene_of[gene]] = True
    is_kept = is_target.any(axis=1) & ~is_target.all(axis=1)
    if not is_kept.any():
        return None
    names = [names[number] for number in np.flatnonzero(is_kept)]
    doses = compounds.filter(pl.col("compound_id").is_in(names))
    similarity = _similarities(doses, genes.vectors[is_candidate])
    return _Asked(
        names=names,
        n_wells=doses.group_by("compound_id")
        .agg(pl.col("n_wells").cast(pl.Int64).sum())
        .sort("compound_id")["n_wells"]
        .to_numpy(),
        rank_low=rankdata(-similarity, axis=1, method="max").astype(np.float64),
        rank_mean=rankdata(-similarity, axis=1),
        is_target=is_target[is_kept],
        stratum=genes.stratum[is_candidate],
    )


def _similarities(doses: pl.DataFrame, genes: Float[np.ndarray, "gene feature"]) -> Float[np.ndarray, "compound gene"]:
    """The largest |cosine| over the doses of each compound, in order of their names."""
    of_dose, of_gene = unit_rows(vectors(doses)), unit_rows(genes)
    counts = doses["compound_id"].rle().struct.field("len").to_numpy()
    found, start = [], 0
    for n_doses in counts:
        found.append(np.abs(of_dose[start : start + n_doses] @ of_gene.T).max(axis=0))
        start += n_doses
    return settled_cosines(np.stack(found))


def _draws(asked: _Asked, parameters: TargetParameters) -> dict[str, Float[np.ndarray, "draw compound"]]:
    """Both statistics as observed (row 0), and with the candidates' names permuted within strata."""
    rng = np.random.default_rng(parameters.seed)
    permutations = node_permutations(asked.stratum, parameters.n_permutations, rng)
    shape = len(permutations), len(asked.names)
    precision, auroc = np.empty(shape), np.empty(shape)
    n_targets = asked.is_target.sum(axis=1)
    for n_own in np.unique(n_targets):
        own = np.flatnonzero(n_targets == n_own)
        targets = np.nonzero(asked.is_target[own])[1].reshape(len(own), n_own)
        start = 0
        for n_draws in blocks(len(permutations), targets.size):
            here = slice(start, start + n_draws)
            places = own[:, None], permutations[here][:, targets]
            precision[here, own] = average_precision(asked.rank_low[places])
            auroc[here, own] = area_under_curve(asked.rank_mean[places], asked.is_target.shape[1])
            start += n_draws
    return {"target_average_precision": precision, "target_auroc": auroc}


@finite_arguments(BenchmarkError)
def average_precision(ranks: Float[np.ndarray, "*many target"]) -> Float[np.ndarray, "*many"]:
    """Returns the mean, over targets, of the share of targets among the genes from the first to that target.

    Args:
        ranks: of the targets among all genes, 1 for the most similar; tied genes have the last rank of the tie.
    """
    ordered = np.sort(ranks, axis=-1)
    return (np.arange(1, ranks.shape[-1] + 1) / ordered).mean(axis=-1)


@finite_arguments(BenchmarkError)
def area_under_curve(ranks: Float[np.ndarray, "*many target"], n_genes: int) -> Float[np.ndarray, "*many"]:
    """Returns the share of pairs of a target and another gene in which the target is the more similar.

    Args:
        ranks: of the targets among all genes, 1 for the most similar; tied genes share their mean rank.
        n_genes: number of all genes, targets included.
    """
    n_targets = ranks.shape[-1]
    above = ranks.sum(axis=-1) - n_targets * (n_targets + 1) / 2
    return 1 - above / (n_targets * (n_genes - n_targets))


def _summaries(suffix: str, draws: dict[str, Float[np.ndarray, "draw compound"]]) -> list[Score]:
    rows = []
    for metric, values in draws.items():
        mean = mean_over_nodes(values[0], np.arange(values.shape[1])[:, None])
        rows.append(summary_score(f"{metric}{suffix}", mean, values, within=(0.0, 1.0)))
    return rows
