"""Perturbation consistency: do replicates of a perturbation look more alike than random wells of the same plates?"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from cellassets.configuration import Parameters
from cellassets.errors import BenchmarkError
from cellassets.mapping.relate import unit_rows
from cellassets.scoring.definition import JudgedMap, RankedBy, Score, benchmark
from cellassets.scoring.rows import summary_scores, unit_scores
from cellassets.scoring.statistics import permuted_within


class ConsistencyParameters(Parameters):
    """How many permutations the null is made of, and how many resamples the intervals."""

    n_permutations: int = Field(default=1000, ge=99)
    n_resamples: int = Field(default=2000, ge=100)
    seed: int = 0


@benchmark(
    title="Perturbation consistency",
    description=(
        "Share of random groups of wells from the same plates that agree less with each other than the replicates of a "
        "perturbation do; 0.5 by chance, 1 at best."
    ),
    code_version="1",
    parameters=ConsistencyParameters,
    ranked_by=RankedBy("consistency_percentile", "consistency_percentile"),
)
def perturbation_consistency(judged: JudgedMap, parameters: ConsistencyParameters) -> list[Score]:
    """Returns the mean pairwise cosine of each perturbation's wells, against labels shuffled within plates.

    The statistic is the mean cosine over all pairs of a perturbation's wells, whatever plate they are on. Shuffling the
    labels of treated wells within each plate keeps for every perturbation how many wells it has on which plate, so
    plate, batch and position effects that alignment left are in the null as they are in the statistic.

    Raises:
        BenchmarkError: no perturbation has two wells.

    Source: consistency of Celik et al. (2024), PLOS Comput Biol 20:e1012463, with the null matched by plate.
    """
    treated = np.flatnonzero(judged.is_treatment)
    names, index = np.unique(np.array(judged.units)[treated], return_inverse=True)
    counts = np.bincount(index)
    kept = np.flatnonzero(counts >= 2)
    if kept.size == 0:
        message = f"perturbation_consistency: none of {len(names)} perturbations has two wells; it needs replicates"
        raise BenchmarkError(message)
    wells = unit_rows(judged.vectors[treated])
    plates = judged.plate_index[treated]
    rng = np.random.default_rng(parameters.seed)
    null = np.stack(
        [mean_cosines(wells[permuted_within(plates, rng)], index)[kept] for _ in range(parameters.n_permutations)]
    )
    observed = mean_cosines(wells, index)[kept]
    units: Sequence[str] = names[kept].tolist()
    summary = summary_scores("consistency", observed, null, n_resamples=parameters.n_resamples, seed=parameters.seed)
    return [*summary, *unit_scores("consistency", units, observed, null, n_wells=counts[kept])]


def mean_cosines(
    wells: Float[np.ndarray, "well feature"], group: Int[np.ndarray, "well"]
) -> Float[np.ndarray, "group"]:
    """Returns the mean cosine over the pairs of each group's wells; 0 for a single well.

    Of n rows of length 1 with sum s, the pairs' cosines sum to |s|^2 - n: no matrix of wells x wells is needed. Rows of
    length 0 count as cosine 0.

    Args:
        wells: rows of length 1 or 0.
        group: number of each well's group, from 0 on, every group with a well.
    """
    order = np.argsort(group, kind="stable")
    counts = np.bincount(group)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums = np.add.reduceat(wells[order], starts, axis=0)
    lengths = np.add.reduceat(np.einsum("wf,wf->w", wells, wells)[order], starts)
    pairs = counts * (counts - 1)
    total = np.einsum("gf,gf->g", sums, sums) - lengths
    return np.divide(total, pairs, out=np.zeros(len(counts)), where=pairs > 0)
