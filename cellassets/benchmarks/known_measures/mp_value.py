"""Multidimensional perturbation value: is the mean of a treatment far from the controls, in the metric of controls?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from cellassets.benchmarks.definition import Row, Score
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.known_measures.hits import QUANTILE, hits_above_null
from cellassets.benchmarks.known_measures.treatments import by_treatment
from cellassets.benchmarks.replicates.against_controls import ComparedWells, chosen_within, compared_wells
from cellassets.benchmarks.replicates.chosen_wells import PlateParameters, chosen_wells
from cellassets.benchmarks.rows import Draws, influences_of, summary_score, unit_scores
from cellassets.benchmarks.ties import with_finer_p_values
from cellassets.errors import BenchmarkError
from cellassets.mapping.controls import is_negative_control
from cellassets.mapping.moments import group_sums
from cellassets.statistics.mahalanobis import distances_of_chosen, whitened
from cellassets.statistics.permutation import Mean, mean_over_nodes, permuted_within, settled_ties

N_LEAST_FITTED = 5


class MpValueParameters(PlateParameters):
    """The components that distances are measured in, and how many controls a treatment is compared with.

    Principal components of the negative controls that alignment was fitted on are kept up to `variance_frac` of their
    variance, and at most one for every two of those controls.
    """

    variance_frac: float = Field(
        default=0.9, gt=0, le=1, description="Share of the controls' variance in the components that are kept"
    )
    max_controls_per_plate: int = Field(
        default=32, ge=3, description="Held-out controls of a plate that a treatment is compared with, at most"
    )


def mp_value(judged: JudgedMap, parameters: MpValueParameters) -> list[Row]:
    """Returns the share of treatments with an mp-value of at most 0.05, and each treatment's distance and mp-value.

    The statistic is the squared Mahalanobis distance between the mean of a treatment's wells and the mean of the
    held-out negative controls of its plates, in principal components of the other controls and by their covariance.
    The mp-value is the p-value of a unit row: labels are permuted between the treatment's wells and those held-out
    controls, within plates. The summary's null distribution permutes the labels of all these wells together, because
    treatments share their controls.

    Raises:
        NotApplicable: no treatment has two wells.
        BenchmarkError: too few controls for a covariance, or no treatment on plates with three held-out controls.

    Source: Hutz et al. (2013), J. Biomol. Screen. 18:367. There the covariance is that of the permuted controls
    themselves, and labels are permuted over all plates.
    """
    rng = np.random.default_rng(parameters.seed)
    judged = chosen_wells(by_treatment(judged), parameters)
    compared = compared_wells("mp_value", judged, max_controls_per_plate=parameters.max_controls_per_plate, rng=rng)
    placed = _placed(compared, _fitted_controls(judged), parameters.variance_frac)
    own = settled_ties(_own_draws(placed, parameters.n_permutations, rng))
    joint = settled_ties(_joint_draws(placed, parameters.n_permutations, rng))
    hits, finer = hits_above_null(own)
    n_wells = np.bincount(placed.unit)
    nodes, influences = np.arange(len(n_wells))[:, None], _influences(placed, own)
    units = unit_scores("mp_active_frac", compared.names, hits, n_wells=n_wells, end=1.0)
    return [
        _headline(mean_over_nodes(hits[0], nodes, influences=influences), joint),
        *with_finer_p_values(units, finer),
        summary_score("mahalanobis_distance", mean_over_nodes(own[0], nodes), joint, within=(0.0, np.inf)),
        *unit_scores("mahalanobis_distance", compared.names, own, n_wells=n_wells),
        *influences_of("mp_active_frac", compared.control_names, influences),
    ]


@dataclass(frozen=True)
class _Placed:
    """Whitened wells: those of unit 0 by plate, of unit 1, ..., then the controls by plate.

    `plates_of` lists the plates of each distinct group of plates, and `group` says which one a unit is on.
    """

    wells: Float[np.ndarray, "well component"]
    plate: Int[np.ndarray, "well"]
    unit: Int[np.ndarray, "treated"]
    is_on: Float[np.ndarray, "group plate"]
    group: Int[np.ndarray, "unit"]

    @property
    def n_treated(self) -> int:
        return len(self.unit)


def _placed(compared: ComparedWells, fitted: Float[np.ndarray, "control feature"], variance_frac: float) -> _Placed:
    treated, controls = np.lexsort((compared.plate, compared.unit)), np.argsort(compared.control_plate, kind="stable")
    rows = np.concatenate([compared.treated[treated], compared.controls[controls]])
    plates = np.concatenate([compared.plate[treated], compared.control_plate[controls]])
    plates = np.unique(plates, return_inverse=True)[1]
    is_on = np.zeros((len(compared.names), plates.max() + 1))
    is_on[compared.unit[treated], plates[: len(treated)]] = 1.0
    groups, group = np.unique(is_on, axis=0, return_inverse=True)
    wells = whitened(rows, fitted, variance_frac)
    return _Placed(wells, plates, compared.unit[treated], groups, group.reshape(-1))


def _fitted_controls(judged: JudgedMap) -> Float[np.ndarray, "control feature"]:
    """Negative controls that alignment was fitted on: the others are permuted, so they have no part in the metric."""
    fitted = np.flatnonzero(is_negative_control(judged.wells) & ~judged.is_held_out_control)
    if len(fitted) < N_LEAST_FITTED:
        message = (
            f"mp_value: alignment was fitted on {len(fitted)} negative controls, and {N_LEAST_FITTED} are needed for "
            "their covariance; add control wells, or lower held_out_controls_frac in mapping.yaml"
        )
        raise BenchmarkError(message)
    return judged.vectors[fitted].astype(np.float64)


def _own_draws(placed: _Placed, n_permutations: int, rng: np.random.Generator) -> Draws:
    """Each treatment as observed (row 0), and with labels permuted between its wells and its controls.

    Treatments with equally many wells on each plate share their permutations.
    """
    draws = np.empty((1 + n_permutations, len(placed.group)))
    control_plate, controls = placed.plate[placed.n_treated :], placed.wells[placed.n_treated :]
    chosen_of: dict[tuple[int, ...], Int[np.ndarray, "draw own"]] = {}
    ends = np.cumsum(np.bincount(placed.unit))
    for unit, (start, end) in enumerate(zip(ends - np.bincount(placed.unit), ends, strict=True)):
        plates = placed.plate[start:end]
        is_compared = placed.is_on[placed.group[unit], control_plate] > 0
        if tuple(plates) not in chosen_of:
            both = np.concatenate([plates, control_plate[is_compared]])
            permuted = chosen_within(both, len(plates), n_permutations, rng)
            chosen_of[tuple(plates)] = np.concatenate([np.arange(len(plates))[None], permuted])
        draws[:, unit] = distances_of_chosen(placed.wells[start:end], controls[is_compared], chosen_of[tuple(plates)])
    return draws


def _joint_draws(placed: _Placed, n_permutations: int, rng: np.random.Generator) -> Draws:
    """All treatments as observed (row 0), and with the labels of all wells permuted within plates."""
    n_units = len(placed.group)
    label = np.concatenate([placed.unit, n_units + placed.plate[placed.n_treated :]])
    counts = np.bincount(label, minlength=n_units + placed.is_on.shape[1])
    n_controls = placed.is_on @ counts[n_units:]
    draws, given = np.empty((1 + n_permutations, n_units)), label
    for number in range(len(draws)):
        if number:
            given = np.empty_like(label)
            given[permuted_within(placed.plate, rng)] = label
        sums = group_sums(placed.wells, given, len(counts))
        of_controls = (placed.is_on @ sums[n_units:]) / n_controls[:, None]
        difference = sums[:n_units] / counts[:n_units, None] - of_controls[placed.group]
        draws[number] = np.einsum("uc,uc->u", difference, difference)
    return draws


def _headline(mean: Mean, joint: Draws) -> Score:
    """The share of hits; its null distribution is that of hits among the joint permutations."""
    hits, finer = hits_above_null(joint)
    summary = summary_score("mp_active_frac", mean, hits, within=(0.0, 1.0))
    return with_finer_p_values([summary], finer.mean(axis=1)[:, None])[0]


def _influences(placed: _Placed, own: Draws) -> Float[np.ndarray, "control"]:
    """By how much the share of hits would fall without each control, to first order.

    A hit is a step of the distance. It is replaced by a line, as long as two standard deviations of the unit's null
    distribution around its threshold: a step has no first order.
    """
    n_units, control_plate = len(placed.group), placed.plate[placed.n_treated :]
    controls, treated = placed.wells[placed.n_treated :], placed.wells[: placed.n_treated]
    means = group_sums(treated, placed.unit, n_units) / np.bincount(placed.unit)[:, None]
    half = own[1:].std(axis=0)
    is_near = np.abs(own[0] - np.quantile(own, QUANTILE, axis=0)) <= half
    slope = np.divide(is_near, 2 * half, out=np.zeros(n_units), where=half > 0)
    lost = np.zeros(len(controls))
    for number, is_on in enumerate(placed.is_on):
        units = np.flatnonzero(placed.group == number)
        others = np.flatnonzero(is_on[control_plate] > 0)
        centre = controls[others].mean(axis=0)
        change = 2 * (means[units] - centre) @ (controls[others] - centre).T / (len(others) - 1)
        lost[others] -= slope[units] @ change / n_units
    return lost
