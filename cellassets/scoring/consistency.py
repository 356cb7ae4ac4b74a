"""Perturbation consistency: do replicates of a perturbation look more alike than random wells of the same plates?"""

import numpy as np
from jaxtyping import Float, Int

from cellassets.errors import BenchmarkError
from cellassets.mapping.relate import unit_rows
from cellassets.scoring.catalogue.replicates import ConsistencyParameters
from cellassets.scoring.definition import Score
from cellassets.scoring.judged import JudgedMap
from cellassets.scoring.rows import summary_score, unit_scores
from cellassets.scoring.statistics import mean_over_nodes, null_percentiles, permuted_within, settled_ties


def perturbation_consistency(judged: JudgedMap, parameters: ConsistencyParameters) -> list[Score]:
    """Returns the mean pairwise cosine of each perturbation's wells, against labels shuffled within plates.

    The statistic is the mean cosine over all pairs of a perturbation's wells, whatever plate they are on. Shuffling the
    labels of treated wells within each plate keeps for every perturbation how many wells it has on which plate, so
    plate and batch effects that alignment left are in the null as they are in the statistic.

    Raises:
        BenchmarkError: no perturbation has two wells.

    Source: consistency of Celik et al. (2024), PLOS Comput Biol 20:e1012463, with the null matched by plate.
    """
    treated = np.flatnonzero(judged.is_treatment)
    names, group = np.unique(np.array(judged.units)[treated], return_inverse=True)
    counts = np.bincount(group)
    is_kept = counts >= 2
    if not is_kept.any():
        message = f"perturbation_consistency: none of {len(names)} perturbations has two wells; it needs replicates"
        raise BenchmarkError(message)
    wells = unit_rows(judged.vectors[treated])
    draws = _draws(wells, group, judged.plate_index[treated], parameters)[:, is_kept]
    n_wells = counts[is_kept]
    rows = []
    for metric, values, within in (
        ("consistency_percentile", null_percentiles(draws), (0.0, 1.0)),
        ("consistency", draws, (-1.0, 1.0)),
    ):
        mean = mean_over_nodes(values[0], np.arange(len(n_wells))[:, None])
        rows.append(summary_score(metric, mean, values, within=within))
        rows += unit_scores(metric, names[is_kept].tolist(), values, n_wells=n_wells)
    return rows


def _draws(
    wells: Float[np.ndarray, "well feature"],
    group: Int[np.ndarray, "well"],
    plate: Int[np.ndarray, "well"],
    parameters: ConsistencyParameters,
) -> Float[np.ndarray, "draw group"]:
    """Mean cosines as observed (row 0) and under each permutation."""
    rng = np.random.default_rng(parameters.seed)
    order = np.argsort(group, kind="stable")
    counts = np.bincount(group)
    observed = mean_cosines(wells[order], counts)
    null = (mean_cosines(wells[permuted_within(plate, rng)[order]], counts) for _ in range(parameters.n_permutations))
    return settled_ties(np.stack([observed, *null]))


def mean_cosines(
    wells: Float[np.ndarray, "well feature"], counts: Int[np.ndarray, "group"]
) -> Float[np.ndarray, "group"]:
    """Returns the mean cosine over the pairs of each group's wells; 0 for a single well.

    Of n rows of length 1 with sum s, the pairs' cosines sum to |s|^2 - n: no matrix of wells x wells is needed. Rows of
    length 0 count as cosine 0.

    Args:
        wells: rows of length 1 or 0, group after group.
        counts: wells of each group, at least 1.
    """
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums = np.add.reduceat(wells, starts, axis=0)
    lengths = np.add.reduceat(np.einsum("wf,wf->w", wells, wells), starts)
    pairs = counts * (counts - 1)
    total = np.einsum("gf,gf->g", sums, sums) - lengths
    return np.divide(total, pairs, out=np.zeros(len(counts)), where=pairs > 0)
