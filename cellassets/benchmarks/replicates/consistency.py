"""Perturbation consistency: are replicates more similar than random wells, or guides, of the same plates?"""

import numpy as np
from jaxtyping import Bool, Float

from cellassets.benchmarks.definition import NameParameters, Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.replicates.chosen_wells import UnitParameters, chosen_wells
from cellassets.benchmarks.replicates.guides import guide_draws
from cellassets.benchmarks.replicates.replicates import (
    ReplicateDraws,
    Replicates,
    genes_with_one_guide,
    replicate_draws,
)
from cellassets.benchmarks.rows import summary_score, unit_scores
from cellassets.errors import BenchmarkError
from cellassets.finite import require_finite
from cellassets.statistics.permutation import mean_over_nodes, null_percentiles


class ConsistencyParameters(UnitParameters, NameParameters):
    """What is judged, how many wells of it count on one plate, and which guides change genes."""


def perturbation_consistency(judged: JudgedMap, parameters: ConsistencyParameters) -> list[Score]:
    """Returns the mean pairwise cosine of each unit's wells, against labels shuffled within plates.

    The statistic is the mean cosine over all pairs of a perturbation's wells, on any plate. Where a gene has several
    guides, it is the mean over pairs of wells of different guides, and in the null distribution guides of the same
    plates change genes with all their wells. If some genes have several guides, genes with one guide have a metric of
    their own (`one_guide_percentile`): the effect of the guide cannot be distinguished from that of the gene.

    Raises:
        NotApplicable: no perturbation has two wells, or no two guides of genes with several are on the same plates.

    Source: consistency of Celik et al. (2024), PLOS Comput Biol 20:e1012463, with a null distribution matched by plate.
    """
    judged = chosen_wells(judged, parameters)
    of_wells = replicate_draws(judged, mean_cosines, n_permutations=parameters.n_permutations, seed=parameters.seed)
    of_guides = guide_draws(judged, parameters)
    alone = genes_with_one_guide(judged) if of_guides.names else set[str]()
    is_alone = np.array([name in alone for name in of_wells.names], dtype=bool)
    found = _together(_chosen(of_wells, ~is_alone), of_guides)
    rows = []
    for metric, values, within in (
        ("consistency_percentile", null_percentiles(found.draws), (0.0, 1.0)),
        ("consistency", found.draws, (-1.0, 1.0)),
    ):
        rows += _rows(metric, found, values, within)
    if is_alone.any():
        single = _chosen(of_wells, is_alone)
        rows += _rows("one_guide_percentile", single, null_percentiles(single.draws), (0.0, 1.0))
    return rows


def _rows(
    metric: str, found: ReplicateDraws, values: Float[np.ndarray, "draw unit"], within: tuple[float, float]
) -> list[Score]:
    summary = summary_score(metric, mean_over_nodes(values[0], found.nodes), values, within=within)
    return [summary, *unit_scores(metric, found.names, values, n_wells=found.n_wells, end=1.0)]


def _chosen(found: ReplicateDraws, is_chosen: Bool[np.ndarray, "unit"]) -> ReplicateDraws:
    names = [name for name, chosen in zip(found.names, is_chosen, strict=True) if chosen]
    return ReplicateDraws(names, found.n_wells[is_chosen], found.draws[:, is_chosen])


def _together(first: ReplicateDraws, second: ReplicateDraws) -> ReplicateDraws:
    """The units of both, sorted by name."""
    names = first.names + second.names
    order = np.argsort(names, kind="stable")
    n_wells, draws = np.append(first.n_wells, second.n_wells), np.append(first.draws, second.draws, axis=1)
    return ReplicateDraws([names[place] for place in order], n_wells[order], draws[:, order])


def mean_cosines(wells: Float[np.ndarray, "well feature"], units: Replicates) -> Float[np.ndarray, "unit"]:
    """Returns the mean cosine over the pairs of each unit's wells; 0 for a single well.

    The cosines of the pairs of n rows of length 1 with sum s add up to |s|^2 - n, so no matrix of wells x wells is
    needed. Rows of length 0 count as cosine 0.

    Args:
        wells: rows of length 1 or 0.
        units: the wells of each unit.
    """
    sums = units.sums(wells)
    lengths = units.sums(np.einsum("wf,wf->w", wells, wells)[:, None])[:, 0]
    pairs = units.counts * (units.counts - 1)
    total = np.einsum("gf,gf->g", sums, sums) - lengths
    require_finite("mean_cosines", total, kind="the wells of unit", error=BenchmarkError)
    return np.divide(total, pairs, out=np.zeros(len(pairs)), where=pairs > 0)
