"""Correction of proximity bias: subtracts what the knock-out of a gene shares with its chromosome arm.

A nuclease cut can remove the rest of the chromosome arm. Knock-outs of genes on one arm then look alike, whatever the
genes do. `GeneArms` says which gene is on which arm.
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
    """Returns the affine map that subtracts from the wells of each gene the mean profile of its chromosome arm.

    The profile of a gene is the mean of its wells; the profile of an arm is the mean of its genes' profiles. So every
    gene has the same weight, and the mean of a gene's wells is the same as if the finished map had been corrected.
    Controls, genes without an arm, and arms with `min_genes` genes or fewer do not change.

    Each gene is part of the mean of its own arm. In an arm of n genes, a gene therefore keeps (n - 1) / n of its own
    effect, and genes that share nothing get a cosine of -1 / (n - 1) to each other. Leaving the gene out of the mean
    would only change its length, by n / (n - 1), and no cosine. `fit_on: unexpressed` avoids this: genes that the cell
    does not express show the effect of the arm and none of their own, and expressed genes are not in any mean.

    Args:
        wells: one row per well, aligned before.
        design: a design with gene arms.
        min_genes: an arm is corrected if it has more genes than this (20 in the reference).
        fit_on: all genes, or those whose `is_expressed` is false.

    Raises:
        AlignmentError: the arms or the expression of the genes are not known, or no arm has enough genes.

    Source: Lazar et al. (2024), Nat Genet 56:1482, methods; `arm_centering` of the package proxbias.
    """
    arms = design.known_arms()
    n_genes, n_arms = len(arms.gene_names), len(arms.arm_names)
    counts = np.bincount(arms.arm_of_gene[_is_fitted(arms, fit_on)], minlength=n_arms)
    if not (counts > min_genes).any():
        message = (
            f"chromosome_arm: no arm has more than {min_genes} genes to fit on (the largest has {counts.max()}); lower "
            "min_genes or leave the step out"
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
            "chromosome_arm: with fit_on unexpressed, gene_arms must say which genes are expressed; add a column "
            "is_expressed (true or false), or set fit_on to all"
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
