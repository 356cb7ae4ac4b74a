"""Agreement of the guides of a gene, as observed and with guides exchanged between genes.

The wells of one guide share whatever else the guide does, such as a cut at another place. So only wells of different
guides are compared, and in the null distribution guides change genes with all their wells: a guide's own effect is in
the null distribution too.
"""

from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Float, Int

from cellassets.benchmarks.definition import NameParameters
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.replicates.replicates import ReplicateDraws, has_several_guides
from cellassets.benchmarks.strata import check_exchange, exchange_groups, strata_of
from cellassets.mapping.moments import group_sums
from cellassets.mapping.relate import unit_rows
from cellassets.statistics.permutation import permuted_within, settled_ties


@dataclass(frozen=True)
class GuideWells:
    """The wells of guides, added up.

    Attributes:
        sums: sum of each guide's wells, as rows of length 1.
        counts: wells of each guide.
        gene: number of each guide's gene.
        stratum: guides of one stratum have equally many wells on every plate.
    """

    sums: Float[np.ndarray, "guide feature"]
    counts: Int[np.ndarray, "guide"]
    gene: Int[np.ndarray, "guide"]
    stratum: Int[np.ndarray, "guide"]

    def cosines_between(self, gene: Int[np.ndarray, "guide"]) -> Float[np.ndarray, "gene"]:
        """Returns the mean cosine over the pairs of a gene's wells that are of different guides.

        The cosines of all ordered pairs add up to the square of the gene's sum, and those of one guide to the square of
        the guide's sum.

        Args:
            gene: the gene that each guide is given to.
        """
        n_genes = int(self.gene.max()) + 1
        sums = group_sums(self.sums, gene, n_genes)
        of_guides = np.stack([np.einsum("gf,gf->g", self.sums, self.sums), self.counts**2], axis=1)
        within = group_sums(of_guides, gene, n_genes)
        n_wells = np.bincount(gene, self.counts, n_genes)
        return (np.einsum("gf,gf->g", sums, sums) - within[:, 0]) / (n_wells**2 - within[:, 1])


def guide_draws(judged: JudgedMap, parameters: NameParameters) -> ReplicateDraws:
    """Returns the mean cosine between wells of different guides of each gene, against guides exchanged between genes.

    Args:
        judged: the map; units of one perturbation are left out.
        parameters: the permutations, and whether guides of the same plates or of the same batches are exchanged.

    Raises:
        NotApplicable: there are such genes, and no two of their guides are on the same plates.
    """
    rows = np.flatnonzero(has_several_guides(judged))
    guides, guide = np.unique(judged.wells["perturbation_id"].to_numpy()[rows].astype(str), return_inverse=True)
    first = np.unique(guide, return_index=True)[1]
    names, gene = np.unique(np.array(judged.units)[rows][first], return_inverse=True)
    if not len(names):
        return ReplicateDraws([], np.empty(0, dtype=np.int64), np.empty((1 + parameters.n_permutations, 0)))
    group = exchange_groups(judged, parameters)[rows]
    wells = GuideWells(
        sums=group_sums(unit_rows(judged.vectors[rows]).astype(np.float64), guide, len(guides)),
        counts=np.bincount(guide),
        gene=gene,
        stratum=strata_of(guides[guide], group, np.ones(len(rows), dtype=bool), guides.tolist()),
    )
    check_exchange("perturbation_consistency", wells.stratum, what="guides")
    rng = np.random.default_rng((parameters.seed, 1))
    exchanged = (gene[permuted_within(wells.stratum, rng)] for _ in range(parameters.n_permutations))
    draws = np.stack([wells.cosines_between(of_guide) for of_guide in chain([gene], exchanged)])
    return ReplicateDraws(names.tolist(), np.bincount(gene, wells.counts).astype(np.int64), settled_ties(draws))
