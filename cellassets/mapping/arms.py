"""Proximity bias: what a gene's knock-out shares with its neighbours on the chromosome arm, subtracted.

A nuclease cut may take the rest of the chromosome arm with it, so knock-outs of genes on one arm look alike whatever
the genes do. Which gene is on which arm comes in with `GeneArms`.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from cellassets.errors import AlignmentError
from cellassets.mapping.affine import GroupAffine
from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.moments import group_sums
from cellassets.mapping.places import GeneArms
from cellassets.mapping.source import WellSource, blocks

FitArmsOn = Literal["all", "unexpressed"]


def fit_chromosome_arm(wells: WellSource, design: BatchDesign, *, min_genes: int, fit_on: FitArmsOn) -> GroupAffine:
    """Returns the map that subtracts from every gene's wells the mean profile of its arm's genes.

    A gene's profile is the mean of its wells, an arm's the mean of its genes' profiles, so that genes count alike
    whatever their number of wells; the mean of a gene's wells then ends where correcting the finished map would end.
    Arms with `min_genes` genes or fewer, controls and genes without an arm stay as they are.

    A gene in its own arm's mean is shrunk: of n genes each keeps (n - 1) / n of what it alone does, and genes that
    share nothing end at a cosine of -1 / (n - 1) to one another. Leaving the gene out of its mean changes only its
    length, by n / (n - 1), and no cosine. `fit_on: unexpressed` is the way out: genes that the cell does not express
    show the arm's effect and none of their own, and the others are in no mean.

    Args:
        wells: one row a well, aligned before.
        design: with gene arms.
        min_genes: an arm needs more genes than this (20 in the reference).
        fit_on: all genes, or those whose `is_expressed` is false.

    Raises:
        AlignmentError: arms are not known, expression is not, or no arm has genes enough.

    Source: Lazar et al. (2024), Nat Genet 56:1482, methods; `arm_centering` of the package proxbias.
    """
    arms = design.known_arms()
    n_genes, n_arms = len(arms.gene_names), len(arms.arm_names)
    counts = np.bincount(arms.arm_of_gene[_is_fitted(arms, fit_on)], minlength=n_arms)
    if not (counts > min_genes).any():
        message = (
            f"chromosome_arm: no arm has more than {min_genes} genes to fit on (most: {counts.max()}); lower min_genes "
            "or leave the step out"
        )
        raise AlignmentError(message)
    sums = np.zeros((n_genes, wells.n_features))
    for rows in blocks(np.arange(wells.n_wells), wells.n_features):
        sums += group_sums(wells.rows(rows), arms.gene_index[rows], n_genes)
    n_wells = np.bincount(arms.gene_index[arms.gene_index >= 0], minlength=n_genes)
    means = _arm_means(sums / n_wells[:, None], arms, _is_fitted(arms, fit_on), counts)
    means[counts <= min_genes] = 0.0
    offset = np.concatenate([-means, np.zeros((1, wells.n_features))])
    index = np.where(arms.arm_index < 0, n_arms, arms.arm_index)
    return GroupAffine(index, np.ones((1, wells.n_features)), offset)


def _is_fitted(arms: GeneArms, fit_on: FitArmsOn) -> Bool[np.ndarray, "gene"]:
    if fit_on == "all":
        return np.ones(len(arms.gene_names), dtype=bool)
    if arms.is_expressed is None:
        message = (
            "chromosome_arm: fit_on unexpressed needs to know which genes are expressed; add a column is_expressed "
            "(true or false) to gene_arms, or fit on all"
        )
        raise AlignmentError(message)
    return ~arms.is_expressed


def _arm_means(
    profiles: Float[np.ndarray, "gene feature"],
    arms: GeneArms,
    is_fitted: Bool[np.ndarray, "gene"],
    counts: np.ndarray,
) -> Float[np.ndarray, "arm feature"]:
    arm = np.where(is_fitted, arms.arm_of_gene, -1)
    return group_sums(profiles, arm, len(arms.arm_names)) / np.maximum(counts, 1)[:, None]
