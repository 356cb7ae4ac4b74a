"""Step-down tests over doses: is any dose up to this one different from the controls?

Pure functions of a matrix of distances. The hypotheses are nested: if no dose up to the fourth acts, no dose up to the
third does. So testing from the highest dose down, until a test does not reject, is a closed test, and bounds the chance
of any false rejection in a compound. `cellassets.hits.doses` chooses wells and levels.
"""

import numpy as np
from jaxtyping import Float, Int

from cellassets.errors import StatisticsError
from cellassets.finite import finite_arguments
from cellassets.statistics.energy import Distances, GroupSums
from cellassets.statistics.permutation import blocks, settled_ties, upper_p_values

MIN_CONTROLS = 3


@finite_arguments(StatisticsError)
def dose_step_p_value(
    distances: Distances,
    dose: Int[np.ndarray, "well"],
    plate: Int[np.ndarray, "well"],
    n_permutations: int,
    rng: np.random.Generator,
) -> float:
    """Returns the p-value of: the wells of every dose are like the controls of their plates.

    The statistic respects a trend, as that of Williams does: wells of the highest dose are pooled with those of the
    next lower doses, one dose after the other; the largest magnitude of these groups counts, each in standard
    deviations of its null distribution. Labels (doses and controls) are permuted within plates. 1 where
    fewer than two wells or three controls can be compared.

    Args:
        distances: between all wells.
        dose: rank of each well's dose, from 0; -1 for a control.
        plate: number of each well's plate.
        n_permutations: permutations of the labels.
        rng: source of the permutations.

    Source: Williams (1972), Biometrics 28:519; closed testing of Marcus, Peritz and Gabriel (1976), Biometrika 63:655;
    magnitudes of Szekely and Rizzo (2013), J. Stat. Plan. Inference 143:1249.
    """
    n_doses = int(dose.max()) + 1
    counts = np.bincount(np.where(dose < 0, n_doses, dose), minlength=n_doses + 1)
    n_pooled = np.cumsum(counts[:n_doses][::-1])[::-1]
    is_compared = n_pooled >= 2
    if counts[n_doses] < MIN_CONTROLS or not is_compared.any():
        return 1.0
    draws = _pooled_magnitudes(distances, np.where(dose < 0, n_doses, dose), plate, n_permutations, rng)[:, is_compared]
    spread = draws.std(axis=0)
    steps = (draws - draws.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    largest = settled_ties(steps.max(axis=1, initial=-np.inf)[:, None]) if steps.shape[1] else np.zeros((len(draws), 1))
    return float(upper_p_values(largest[0], largest[1:])[0])


def _pooled_magnitudes(
    distances: Distances,
    group: Int[np.ndarray, "well"],
    plate: Int[np.ndarray, "well"],
    n_permutations: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "draw first_dose"]:
    """Magnitude of the doses from each one up to the highest against the controls; row 0 as observed."""
    order = np.argsort(plate, kind="stable")
    distances, group, plate = distances[np.ix_(order, order)], group[order], plate[order]
    n_wells, n_groups = len(group), int(group.max()) + 1
    found, start = np.empty((1 + n_permutations, n_groups - 1)), 0
    for n_draws in blocks(len(found), 3 * n_wells * n_groups):
        placed = np.argsort(rng.random((n_draws, n_wells)) + plate, axis=1)
        if start == 0:
            placed[0] = np.arange(n_wells)
        is_in = np.zeros((n_draws, n_wells, n_groups))
        is_in[np.arange(n_draws)[:, None], placed, group] = 1.0
        sums = is_in.transpose(0, 2, 1) @ (distances @ is_in)
        found[start : start + n_draws] = _of_pooled(sums, np.bincount(group))
        start += n_draws
    return found


def _of_pooled(
    sums: Float[np.ndarray, "draw group group"], counts: Int[np.ndarray, "group"]
) -> Float[np.ndarray, "draw first_dose"]:
    """Magnitudes from the sums of distances between all groups; the controls are the last group."""
    found = np.zeros((len(sums), len(counts) - 1))
    for first in range(len(counts) - 1):
        own = slice(first, len(counts) - 1)
        n_own = int(counts[own].sum())
        if n_own >= 2:
            within, between = sums[:, own, own].sum(axis=(1, 2)), sums[:, own, -1].sum(axis=1)
            found[:, first] = GroupSums(within, between, sums[:, -1, -1]).measures(n_own, int(counts[-1]))[0]
    return found
