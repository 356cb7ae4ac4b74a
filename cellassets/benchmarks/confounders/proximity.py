"""Proximity bias: are genes of one chromosome arm more similar than genes of different arms?

A knock-out by CRISPR-Cas9 can remove the rest of the chromosome arm. Genes of one arm then look similar without being
related, and every relationship within an arm is in doubt.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field

from cellassets.benchmarks.definition import NameParameters, Row
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.map_genes import MapGenes, map_genes
from cellassets.benchmarks.rows import below_chance, influences_of, summary_score, unit_scores
from cellassets.benchmarks.strata import check_exchange
from cellassets.errors import NotApplicable
from cellassets.mapping.relate import settled_cosines, unit_rows
from cellassets.statistics.node_permutation import node_permutations, permuted_lookups
from cellassets.statistics.permutation import mean_over_nodes


class ProximityParameters(NameParameters):
    """Which chromosome arms are judged.

    Arms with more than `min_genes` genes in the map are judged.
    """

    min_genes: int = Field(default=5, ge=1, description="Arms with this number of genes or fewer are not scored")


def proximity_bias(judged: JudgedMap, parameters: ProximityParameters) -> list[Row]:
    """Returns, per gene, the probability that a cosine to a gene of its arm exceeds one to a gene of another arm.

    The headline is the mean over genes: 0.5 by chance, 1 at worst; `arm_over_correction` says by how much it is below
    the mean of its null distribution. The row of an arm is the mean over its genes. In the
    null distribution genes of the same plates exchange their arms, so that arms keep their sizes and similarity of
    plates is in the null distribution too. Genes of small arms are not judged; others are compared with them.

    Raises:
        NotApplicable: there is no source of chromosome arms, or no arm has more than `min_genes` genes of the map.

    Source: Lazar et al. (2024), Nat. Genet. 56:1482: the probability of Brunner and Munzel (2000), Biom. J. 42:17, for
    cosines within and between arms. Their test treats pairs that share genes as independent; this null distribution
    does not.
    """
    genes = map_genes(judged, "proximity_bias", parameters)
    check_exchange("proximity_bias", genes.stratum, what="genes")
    arms = _arms(judged, genes, parameters.min_genes)
    draws = _draws(genes, arms, parameters)
    influences = _partner_influences(genes, arms, draws[0])
    mean = mean_over_nodes(draws[0], np.arange(draws.shape[1])[:, None], influences=influences)
    headline = summary_score("proximity_bias", mean, draws, within=(0.0, 1.0))
    rows: list[Row] = [headline, below_chance("arm_over_correction", headline, draws.mean(axis=1))]
    judged_arm = arms.arm[arms.units]
    for arm in np.unique(judged_arm):
        own = draws[:, judged_arm == arm]
        mean = mean_over_nodes(own[0], np.arange(own.shape[1])[:, None])
        rows.append(summary_score(f"proximity_bias[{arms.names[arm]}]", mean, own, within=(0.0, 1.0)))
    names = [genes.names[unit] for unit in arms.units]
    units = unit_scores("arm_proximity", names, draws, n_wells=genes.n_wells[arms.units], end=1.0)
    return [*rows, *units, *influences_of("arm_proximity", genes.names, influences)]


@dataclass(frozen=True)
class _Arms:
    """Arm of each gene (-1: not known), the genes that are judged, and the genes of each judged gene's arm.

    `members` is padded with the number of genes.
    """

    names: list[str]
    arm: Int[np.ndarray, "gene"]
    units: Int[np.ndarray, "unit"]
    members: Int[np.ndarray, "unit member"]
    sizes: Int[np.ndarray, "unit"]


def _arms(judged: JudgedMap, genes: MapGenes, min_genes: int) -> _Arms:
    if not judged.annotations.gene_arms:
        message = (
            "proximity_bias: no source of chromosome arms; add a CSV with the columns gene_symbol and chromosome_arm "
            "by `cellassets annotation add`"
        )
        raise NotApplicable(message)
    arm_of = judged.annotations.arm_of_gene()
    names = sorted({arm_of[gene] for gene in genes.names if gene in arm_of})
    number = {name: place for place, name in enumerate(names)}
    arm = np.array([number.get(arm_of.get(gene, ""), -1) for gene in genes.names], dtype=np.int64)
    sizes = np.bincount(arm[arm >= 0], minlength=len(names))
    is_judged = (sizes > min_genes) & (sizes < (arm >= 0).sum())
    if not is_judged.any():
        message = (
            f"proximity_bias: of {len(names)} chromosome arms none has more than {min_genes} of the map's genes, and "
            f"other arms beside it ({(arm >= 0).sum()} of {len(arm)} genes have a known arm)"
        )
        raise NotApplicable(message)
    units = np.flatnonzero((arm >= 0) & is_judged[arm])
    members = np.full((len(names), sizes.max()), len(arm))
    for place in range(len(names)):
        members[place, : sizes[place]] = np.flatnonzero(arm == place)
    return _Arms(names, arm, units, members[arm[units]], sizes[arm[units]])


def _draws(genes: MapGenes, arms: _Arms, parameters: ProximityParameters) -> Float[np.ndarray, "draw unit"]:
    """Probabilities as observed (row 0), and with the genes' arms permuted within strata.

    They follow from ranks: of n_w cosines within and n_b between arms, with rank sum R of those within, the share (R -
    n_w (n_w + 1) / 2) / (n_w n_b) of the pairs has the larger cosine within.
    """
    is_known = arms.arm >= 0
    stratum = np.where(is_known, genes.stratum, genes.stratum.max() + 1 + np.arange(len(genes.stratum)))
    rng = np.random.default_rng(parameters.seed)
    permutations = node_permutations(stratum, parameters.n_permutations, rng)
    unit = unit_rows(genes.vectors)

    def ranks(start: int, stop: int) -> Float[np.ndarray, "row column"]:
        return _row_ranks(unit, is_known, np.arange(start, stop))

    sums = np.zeros((len(permutations), len(arms.units)))
    for draw, here, values in permuted_lookups(ranks, arms.members, permutations, arms.units):
        sums[draw, here] = values.sum(axis=1)
    n_within, n_between = arms.sizes - 1, is_known.sum() - arms.sizes
    return (sums - n_within * (n_within + 1) / 2) / (n_within * n_between)


def _partner_influences(genes: MapGenes, arms: _Arms, observed: Float[np.ndarray, "unit"]) -> Float[np.ndarray, "gene"]:
    """By how much the mean would fall if no gene were compared with each gene in turn.

    A gene contributes to the mean by its own probability, and as a partner of the others; this is the second part. Let
    q be the share of cosines between arms that are below the one to gene j (or of those within that are above it), and
    n the number of cosines of its kind. Without j a probability p falls by (q - p) / (n - 1).
    """
    from scipy.stats import rankdata

    unit, is_known = unit_rows(genes.vectors), arms.arm >= 0
    lost = np.zeros(len(genes.names))
    for arm in np.unique(arms.arm[arms.units]):
        own, others = np.flatnonzero(arms.arm == arm), np.flatnonzero(is_known & (arms.arm != arm))
        ranks = _row_ranks(unit, is_known, own)
        probability = observed[arms.arm[arms.units] == arm][:, None]
        n_within, n_between = len(own) - 1, len(others)
        below = (ranks[:, own] - (rankdata(ranks[:, own], axis=1) - 1)) / n_between
        from_within = (below - probability) / max(n_within - 1, 1)
        np.fill_diagonal(from_within, 0.0)
        above = 1 - (ranks[:, others] - rankdata(ranks[:, others], axis=1)) / n_within
        lost[own] += from_within.sum(axis=0)
        lost[others] += ((above - probability) / max(n_between - 1, 1)).sum(axis=0)
    return lost / len(observed)


def _row_ranks(
    unit: Float[np.ndarray, "gene feature"], is_known: Bool[np.ndarray, "gene"], rows: Int[np.ndarray, "row"]
) -> Float[np.ndarray, "row column"]:
    """Ranks of the rows' cosines to the genes with a known arm, 0 for the gene itself; a last column of zeros."""
    from scipy.stats import rankdata

    known = np.flatnonzero(is_known)
    cosines = settled_cosines(unit[rows] @ unit[known].T)
    cosines[rows[:, None] == known] = -np.inf
    ranks = np.zeros((len(rows), len(unit) + 1))
    # a row without a known arm is not among its own columns: its ranks are one too low, and are not used
    ranks[:, known] = rankdata(cosines, axis=1) - 1
    return ranks
