"""Grit: how far do the replicates of a treatment correlate above its correlations with negative controls?"""

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from cellassets.benchmarks.definition import Row
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.known_measures.treatments import ReplicatePairs, by_treatment
from cellassets.benchmarks.replicates.against_controls import turns_on_plate, well_names
from cellassets.benchmarks.replicates.chosen_wells import PlateParameters, chosen_wells
from cellassets.benchmarks.replicates.replicates import Replicates, check_replicates, replicate_draws
from cellassets.benchmarks.rows import influences_of, summary_score, unit_scores
from cellassets.errors import BenchmarkError
from cellassets.mapping.moments import group_sums
from cellassets.statistics.correlation import N_DIGITS, Correlations, centred_units
from cellassets.statistics.permutation import blocks, mean_over_nodes

LEAST_SPREAD = 1e-6  # a smaller spread of correlations with controls is rounding; it counts as 1, as in the reference
N_LEAST_CONTROLS = 3

Wells = Float[np.ndarray, "well feature"]
Controls = Float[np.ndarray, "control feature"]


class GritParameters(PlateParameters):
    """The number of controls that each well is compared with, at most; others are drawn, spread over the plates."""

    max_controls: int = Field(
        default=512, ge=N_LEAST_CONTROLS, description="Negative controls that every well is compared with, at most"
    )


def grit(judged: JudgedMap, parameters: GritParameters) -> list[Row]:
    """Returns each treatment's mean correlation between replicates, in deviations of its correlations with controls.

    The grit of a well is the mean of z over its replicates: their correlation with it, minus the mean and divided by
    the standard deviation of the well's correlations with all held-out negative controls. The grit of a treatment is
    the mean over its wells. In the null distribution labels are shuffled within plates between treated wells. What
    every treated well shares (toxicity, or a part of the plate without controls) therefore is in the null distribution.

    Raises:
        NotApplicable: no treatment has two wells.
        BenchmarkError: fewer than three negative controls were held out.

    Source: grit of cytominer-eval 0.1, with a well as profile and its treatment as group.
    """
    judged = chosen_wells(by_treatment(judged), parameters)
    check_replicates(judged)
    chosen = _controls(judged, parameters.max_controls, np.random.default_rng(parameters.seed))
    controls = centred_units(judged.vectors[chosen])
    found = replicate_draws(judged, _Grit(controls), n_permutations=parameters.n_permutations, seed=parameters.seed)
    influences = _influences(judged, controls, found.names)
    mean = mean_over_nodes(found.draws[0], found.nodes, influences=influences)
    return [
        summary_score("grit", mean, found.draws, within=(-np.inf, np.inf)),
        *unit_scores("grit", found.names, found.draws, n_wells=found.n_wells),
        *influences_of("grit", well_names(judged.wells[chosen]), influences),
    ]


def _controls(judged: JudgedMap, max_controls: int, rng: np.random.Generator) -> Int[np.ndarray, "control"]:
    """Held-out negative controls, at most `max_controls`, taken from the plates in turn."""
    held_out = np.flatnonzero(judged.is_held_out_control)
    if len(held_out) < N_LEAST_CONTROLS:
        message = (
            f"grit: {len(held_out)} negative controls were held out of alignment, and {N_LEAST_CONTROLS} are needed; "
            "raise held_out_controls_frac in mapping.yaml, or add control wells"
        )
        raise BenchmarkError(message)
    turn = turns_on_plate(judged.plate_index[held_out], rng)
    return np.sort(held_out[np.lexsort((rng.random(len(held_out)), turn))[:max_controls]])


class _Grit:
    """The grit of each unit. Correlations, and the mean and spread of those with controls, are computed once."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._pairs = ReplicatePairs()
        self._correlations: Correlations | None = None

    def __call__(self, wells: Wells, units: Replicates) -> Float[np.ndarray, "unit"]:
        if self._correlations is None:
            rows = centred_units(wells)
            self._correlations = Correlations(rows)
            self._mean, spread = _of_controls(rows, self._controls)
            self._factor = 1 / spread
        pairs, first, second = self._pairs.of(units)
        between = self._correlations.of(first, second)
        z_scores = (between - self._mean[first]) * self._factor[first]
        z_scores += (between - self._mean[second]) * self._factor[second]
        return pairs.means(z_scores / 2)


def _of_controls(rows: Wells, controls: Controls) -> tuple[Float[np.ndarray, "well"], Float[np.ndarray, "well"]]:
    """Mean and standard deviation of each well's correlations with the controls."""
    mean, spread, start = np.empty(len(rows)), np.empty(len(rows)), 0
    for n_rows in blocks(len(rows), len(controls)):
        here = slice(start, start + n_rows)
        found = np.round(rows[here] @ controls.T, N_DIGITS)
        mean[here], spread[here] = found.mean(axis=1), found.std(axis=1)
        start += n_rows
    return mean, np.where(spread < LEAST_SPREAD, 1.0, spread)


def _influences(judged: JudgedMap, controls: Controls, names: list[str]) -> Float[np.ndarray, "control"]:
    """By how much the mean grit would fall without each control: means and spreads are those of the others."""
    units = np.array(judged.units)
    own = np.flatnonzero(judged.is_treatment & np.isin(units, names))
    unit = np.searchsorted(np.array(names), units[own])
    n_wells = np.bincount(unit)[unit]
    rows = centred_units(judged.vectors[own])
    to_others = np.einsum("wf,wf->w", rows, group_sums(rows, unit, len(names))[unit] - rows) / (n_wells - 1)
    weight, n = 1 / (n_wells * len(names)), len(controls)
    lost, start = np.zeros(n), 0
    for n_rows in blocks(len(rows), n):
        here = slice(start, start + n_rows)
        found = np.round(rows[here] @ controls.T, N_DIGITS)
        mean, square = found.mean(axis=1, keepdims=True), (found**2).mean(axis=1, keepdims=True)
        without = (n * mean - found) / (n - 1), (n * square - found**2) / (n - 1)
        now, then = (_z_score(to_others[here, None], *moments) for moments in ((mean, square), without))
        lost += weight[here] @ (now - then)
        start += n_rows
    return lost


def _z_score(
    value: Float[np.ndarray, "well 1"], mean: Float[np.ndarray, "well n"], square: Float[np.ndarray, "well n"]
) -> Float[np.ndarray, "well n"]:
    spread = np.sqrt(np.maximum(square - mean**2, 0.0))
    return (value - mean) / np.where(spread < LEAST_SPREAD, 1.0, spread)
