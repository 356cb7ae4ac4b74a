"""Matching of compounds and genes: does a gene find the compounds that target it among all annotated compounds?"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from cellassets.benchmarks.compounds.compound_targets import average_precision
from cellassets.benchmarks.definition import NameParameters, Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.map_compounds import MapCompounds, known_targets, map_compounds
from cellassets.benchmarks.map_genes import MapGenes, map_genes
from cellassets.benchmarks.rows import summary_score, unit_scores
from cellassets.benchmarks.strata import check_exchange
from cellassets.errors import NotApplicable
from cellassets.screens.landed import PAIR_SEPARATOR
from cellassets.statistics.node_permutation import Permutations, node_permutations
from cellassets.statistics.permutation import blocks, mean_over_nodes

QUANTILE = 0.95


def compound_gene_matching(judged: JudgedMap, parameters: NameParameters) -> list[Score]:
    """Returns the average precision of each gene's compounds among all compounds with a known target.

    The score of a compound is the largest |cosine| to the gene over its doses: an inhibitor may look like the knock-out
    or its opposite. `matched_frac` is percent matching: the share of known pairs whose score is above the 95th
    percentile of all pairs of these genes and compounds. In the null distribution genes of the same plates exchange
    names.

    Raises:
        NotApplicable: there is no source of targets, or no gene of the map with a compound and another compound.

    Source: gene-compound matching of JUMP-CP, Chandrasekaran et al. (2024), Nat. Methods 21:1114, with average
    precision of Kalinin et al. (2025), Nat. Commun. 16:5181 (copairs), by absolute cosines.
    """
    matched = _matched(judged, parameters)
    check_exchange("compound_gene_matching", matched.stratum, what="genes")
    rng = np.random.default_rng(parameters.seed)
    permutations = node_permutations(matched.stratum, parameters.n_permutations, rng)
    precision, hits = _average_precisions(matched, permutations), _hits(matched, permutations)
    genes = np.arange(len(matched.genes))[:, None]
    gene, compound = np.nonzero(matched.is_match)
    pairs = np.stack([gene, len(genes) + compound], axis=1)
    share = summary_score("matched_frac", mean_over_nodes(hits[0], pairs), hits, within=(0.0, 1.0))
    names = [
        PAIR_SEPARATOR.join((matched.compounds[second], matched.genes[first]))
        for first, second in zip(gene, compound, strict=True)
    ]
    of_pairs = unit_scores("pair_matched", names, hits, n_wells=np.ones(len(names), dtype=np.int64), end=1.0)
    return [
        summary_score("gene_average_precision", mean_over_nodes(precision[0], genes), precision, within=(0.0, 1.0)),
        *unit_scores("gene_average_precision", matched.genes, precision, n_wells=matched.n_wells, end=1.0),
        *(replace(row, unit="pair") for row in (share, *of_pairs)),
    ]


@dataclass(frozen=True)
class _Matched:
    """Genes with a compound, compounds with a known target, and which of them match.

    `rank` of a compound is the number of compounds at least as similar to the gene; genes with one `stratum` share
    their plates. `is_extreme` pairs are above the 95th percentile of all pairs.
    """

    genes: list[str]
    compounds: list[str]
    is_match: Bool[np.ndarray, "gene compound"]
    rank: Float[np.ndarray, "gene compound"]
    is_extreme: Bool[np.ndarray, "gene compound"]
    stratum: Int[np.ndarray, "gene"]
    n_wells: Int[np.ndarray, "gene"]


def _matched(judged: JudgedMap, parameters: NameParameters) -> _Matched:
    from scipy.stats import rankdata

    genes, compounds = map_genes(judged, "compound_gene_matching", parameters), map_compounds(judged)
    is_match, is_annotated = _matches(judged, genes, compounds)
    is_kept = is_match.any(axis=1) & ~is_match[:, is_annotated].all(axis=1)
    if not is_kept.any():
        message = (
            f"compound_gene_matching: the map has {len(genes.names)} genes and {is_annotated.sum()} compounds with a "
            "known target, and none of these genes is the target of one such compound and not of another; add a CSV "
            "with the columns compound_id and gene_symbol by `cellassets annotation add`"
        )
        raise NotApplicable(message)
    similarity = compounds.largest(compounds.similarities(genes.vectors[is_kept]))[is_annotated].T
    return _Matched(
        genes=[genes.names[number] for number in np.flatnonzero(is_kept)],
        compounds=[compounds.names[number] for number in np.flatnonzero(is_annotated)],
        is_match=is_match[is_kept][:, is_annotated],
        rank=rankdata(-similarity, axis=1, method="max").astype(np.float64),
        is_extreme=similarity > np.quantile(similarity, QUANTILE),
        stratum=genes.stratum[is_kept],
        n_wells=genes.n_wells[is_kept],
    )


def _matches(
    judged: JudgedMap, genes: MapGenes, compounds: MapCompounds
) -> tuple[Bool[np.ndarray, "gene compound"], Bool[np.ndarray, "compound"]]:
    """Which genes are targets of which compounds, and which compounds have a known target, in the map or not."""
    place = {gene: number for number, gene in enumerate(genes.names)}
    number_of = {name: number for number, name in enumerate(compounds.names)}
    is_match = np.zeros((len(genes.names), len(compounds.names)), dtype=bool)
    is_annotated = np.zeros(len(compounds.names), dtype=bool)
    for compound, gene in known_targets(judged).rows():
        if compound in number_of:
            is_annotated[number_of[compound]] = True
            if gene in place:
                is_match[place[gene], number_of[compound]] = True
    return is_match, is_annotated


def _average_precisions(matched: _Matched, permutations: Permutations) -> Float[np.ndarray, "draw gene"]:
    found = np.empty((len(permutations), len(matched.genes)))
    n_compounds = matched.is_match.sum(axis=1)
    for n_own in np.unique(n_compounds):
        own = np.flatnonzero(n_compounds == n_own)
        listed = np.nonzero(matched.is_match[own])[1].reshape(len(own), n_own)
        start = 0
        for n_draws in blocks(len(permutations), listed.size):
            here = slice(start, start + n_draws)
            found[here, own] = average_precision(matched.rank[permutations[here][:, own, None], listed])
            start += n_draws
    return found


def _hits(matched: _Matched, permutations: Permutations) -> Float[np.ndarray, "draw pair"]:
    gene, compound = np.nonzero(matched.is_match)
    return matched.is_extreme[permutations[:, gene], compound].astype(np.float64)
