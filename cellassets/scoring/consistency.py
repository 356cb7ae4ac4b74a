"""Perturbation consistency: do replicates of a perturbation look more alike than random wells of the same plates?"""

import numpy as np
from jaxtyping import Float, Int

from cellassets.scoring.definition import PermutationParameters, Score
from cellassets.scoring.judged import JudgedMap
from cellassets.scoring.replicates import replicate_draws
from cellassets.scoring.rows import summary_score, unit_scores
from cellassets.scoring.statistics import mean_over_nodes, null_percentiles


def perturbation_consistency(judged: JudgedMap, parameters: PermutationParameters) -> list[Score]:
    """Returns the mean pairwise cosine of each perturbation's wells, against labels shuffled within plates.

    The statistic is the mean cosine over all pairs of a perturbation's wells, whatever plate they are on.

    Raises:
        BenchmarkError: no perturbation has two wells.

    Source: consistency of Celik et al. (2024), PLOS Comput Biol 20:e1012463, with the null matched by plate.
    """
    found = replicate_draws(judged, mean_cosines, n_permutations=parameters.n_permutations, seed=parameters.seed)
    rows = []
    for metric, values, within in (
        ("consistency_percentile", null_percentiles(found.draws), (0.0, 1.0)),
        ("consistency", found.draws, (-1.0, 1.0)),
    ):
        rows.append(summary_score(metric, mean_over_nodes(values[0], found.nodes), values, within=within))
        rows += unit_scores(metric, found.names, values, n_wells=found.n_wells)
    return rows


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
