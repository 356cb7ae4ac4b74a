"""Percent replicating: of how many treatments do replicates correlate more than random wells of the same plates?"""

import numpy as np
from jaxtyping import Float

from cellassets.benchmarks.definition import Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.known_measures.hits import hits_above_null
from cellassets.benchmarks.known_measures.treatments import ReplicatePairs, by_treatment
from cellassets.benchmarks.replicates.chosen_wells import PlateParameters, chosen_wells
from cellassets.benchmarks.replicates.replicates import Replicates, check_replicates, replicate_draws
from cellassets.benchmarks.rows import summary_score, unit_scores
from cellassets.benchmarks.ties import with_p_values_of
from cellassets.statistics.correlation import Correlations, centred_units
from cellassets.statistics.permutation import mean_over_nodes


def percent_replicating(judged: JudgedMap, parameters: PlateParameters) -> list[Score]:
    """Returns the share of treatments whose median replicate correlation is above the 95th percentile of its null.

    The null distribution of a treatment is the same median with labels shuffled within plates: as many wells, on the
    same plates. `median_correlation` is the mean of the medians.

    Raises:
        NotApplicable: no treatment has two wells.

    Source: percent replicating of Way et al. (2022), Cell Syst. 13:911, where the null distribution is of groups of
    wells from any plates.
    """
    treatments = chosen_wells(by_treatment(judged), parameters)
    check_replicates(treatments)
    found = replicate_draws(
        treatments, _MedianCorrelation(), n_permutations=parameters.n_permutations, seed=parameters.seed
    )
    hits, finer = hits_above_null(found.draws)
    rows = [
        summary_score("replicating_frac", mean_over_nodes(hits[0], found.nodes), hits, within=(0.0, 1.0)),
        *unit_scores("replicating_frac", found.names, hits, n_wells=found.n_wells, end=1.0),
    ]
    mean = mean_over_nodes(found.draws[0], found.nodes)
    return [
        *with_p_values_of(rows, finer),
        summary_score("median_correlation", mean, found.draws, within=(-1.0, 1.0)),
        *unit_scores("median_correlation", found.names, found.draws, n_wells=found.n_wells, end=1.0),
    ]


class _MedianCorrelation:
    """The median correlation over the pairs of each unit's wells; correlations are computed once for all draws."""

    def __init__(self) -> None:
        self._pairs = ReplicatePairs()
        self._correlations: Correlations | None = None

    def __call__(self, wells: Float[np.ndarray, "well feature"], units: Replicates) -> Float[np.ndarray, "unit"]:
        if self._correlations is None:
            self._correlations = Correlations(centred_units(wells))
        pairs, first, second = self._pairs.of(units)
        return pairs.medians(self._correlations.of(first, second))
