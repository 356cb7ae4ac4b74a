"""Perturbation magnitude: how far do the wells of a perturbation lie from the negative controls of their plates?"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from cellassets.errors import BenchmarkError
from cellassets.scoring.catalogue.replicates import MagnitudeParameters
from cellassets.scoring.definition import Score
from cellassets.scoring.energy import ManyGroups, influences_of_others, pairwise_distances, two_group_measures
from cellassets.scoring.judged import JudgedMap
from cellassets.scoring.rows import influence_scores, summary_score, unit_scores
from cellassets.scoring.statistics import mean_over_nodes, permuted_within


def perturbation_magnitude(judged: JudgedMap, parameters: MagnitudeParameters) -> list[Score]:
    """Returns the energy distance of each perturbation's wells to the negative controls of the same plates.

    Only controls that alignment never saw are used: the others were moved to the origin by the fit. A perturbation's
    own null permutes labels between its wells and those controls, within plates. The summary's null permutes the labels
    of all these wells at once, since perturbations share their controls.

    Raises:
        BenchmarkError: no perturbation has two wells on plates with three held-out negative controls.

    Source: magnitude of Celik et al. (2024), PLOS Comput Biol 20:e1012463, with the null matched by plate.
    """
    rng = np.random.default_rng(parameters.seed)
    compared = _compared_wells(judged, parameters, rng)
    own, influences = _own_draws(compared, parameters, rng)
    joint = _joint_draws(compared, parameters, rng)
    n_wells = np.bincount(compared.unit)
    nodes = np.arange(len(n_wells))[:, None]
    magnitude = mean_over_nodes(own[0, 0], nodes, influences=influences)
    return [
        summary_score("magnitude", magnitude, joint[0], within=(-np.inf, 1.0)),
        *unit_scores("magnitude", compared.names, own[0], n_wells=n_wells),
        *unit_scores("energy_distance", compared.names, own[1], n_wells=n_wells),
        *influence_scores("magnitude", compared.control_names, influences),
    ]


@dataclass(frozen=True)
class _Compared:
    """Treated wells, unit after unit, and the controls that they can be compared with."""

    names: list[str]
    treated: Float[np.ndarray, "well feature"]
    unit: Int[np.ndarray, "well"]
    plate: Int[np.ndarray, "well"]
    controls: Float[np.ndarray, "control feature"]
    control_plate: Int[np.ndarray, "control"]
    control_names: list[str]


def _compared_wells(judged: JudgedMap, parameters: MagnitudeParameters, rng: np.random.Generator) -> _Compared:
    units = np.array(judged.units)
    held_out = np.flatnonzero(judged.is_held_out_control)
    controls = held_out[_at_most(judged.plate_index[held_out], parameters.max_controls_per_plate, rng)]
    n_controls = np.bincount(judged.plate_index[controls], minlength=judged.plate_index.max() + 1)
    rows = np.flatnonzero(judged.is_treatment & (n_controls[judged.plate_index] > 0))
    names, unit = np.unique(units[rows], return_inverse=True)
    on_plate = np.unique(np.stack([unit, judged.plate_index[rows]]), axis=1)
    n_compared = np.bincount(on_plate[0], weights=n_controls[on_plate[1]], minlength=len(names))
    is_kept = (np.bincount(unit, minlength=len(names)) >= 2) & (n_compared >= 3)
    if not is_kept.any():
        message = (
            f"perturbation_magnitude: of {len(np.unique(units[judged.is_treatment]))} perturbations none has two wells "
            f"on plates with three negative controls that alignment did not see ({len(held_out)} such controls in "
            "all); raise held_out_controls_frac in mapping.yaml, or add control wells"
        )
        raise BenchmarkError(message)
    rows, unit = rows[is_kept[unit]], unit[is_kept[unit]]
    rows = rows[np.argsort(unit, kind="stable")]
    return _Compared(
        names=names[is_kept].tolist(),
        treated=judged.vectors[rows].astype(np.float64),
        unit=np.unique(units[rows], return_inverse=True)[1],
        plate=judged.plate_index[rows],
        controls=judged.vectors[controls].astype(np.float64),
        control_plate=judged.plate_index[controls],
        control_names=judged.wells[controls]
        .select(pl.concat_str("experiment_id", "plate_id", "well_id", separator="/"))
        .to_series()
        .to_list(),
    )


def _at_most(plate: Int[np.ndarray, "well"], n_most: int, rng: np.random.Generator) -> Int[np.ndarray, "kept"]:
    """Places of at most `n_most` wells a plate, drawn at random."""
    order = np.lexsort((rng.random(len(plate)), plate))
    starts = np.searchsorted(plate[order], plate[order], side="left")
    return np.sort(order[np.arange(len(plate)) - starts < n_most])


def _own_draws(
    compared: _Compared, parameters: MagnitudeParameters, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "measure draw unit"], Float[np.ndarray, "control"]]:
    """Each perturbation against the controls of its plates, as observed (row 0) and with their labels permuted.

    Also what the mean magnitude would lose without each control.
    """
    draws = []
    influences = np.zeros(len(compared.controls))
    for number in range(len(compared.names)):
        own = np.flatnonzero(compared.unit == number)
        controls = np.flatnonzero(np.isin(compared.control_plate, compared.plate[own]))
        distances = pairwise_distances(np.concatenate([compared.treated[own], compared.controls[controls]]))
        plates = np.concatenate([compared.plate[own], compared.control_plate[controls]])
        permuted = _chosen_within(plates, len(own), parameters.n_permutations, rng)
        draws.append(two_group_measures(distances, np.concatenate([np.arange(len(own))[None], permuted])))
        influences[controls] += influences_of_others(distances, len(own)) / len(compared.names)
    return np.stack(draws, axis=2), influences


def _chosen_within(
    plates: Int[np.ndarray, "well"], n_own: int, n_draws: int, rng: np.random.Generator
) -> Int[np.ndarray, "draw own"]:
    """As many wells of each plate as the first `n_own` wells have there, drawn at random from all of them."""
    chosen = []
    for plate, n_chosen in zip(*np.unique(plates[:n_own], return_counts=True), strict=True):
        candidates = np.flatnonzero(plates == plate)
        keys = rng.random((n_draws, len(candidates)))
        chosen.append(candidates[np.argpartition(keys, n_chosen - 1, axis=1)[:, :n_chosen]])
    return np.concatenate(chosen, axis=1)


def _joint_draws(
    compared: _Compared, parameters: MagnitudeParameters, rng: np.random.Generator
) -> Float[np.ndarray, "measure draw unit"]:
    """All perturbations: as observed, and with the labels of all wells permuted within plates."""
    order = rng.permutation(len(compared.names))
    sizes = np.cumsum(np.bincount(compared.unit)[order])
    kept_units = order[: max(1, int((sizes <= parameters.max_joint_wells).sum()))]
    treated = np.flatnonzero(np.isin(compared.unit, kept_units))
    n_plates = len(np.unique(compared.plate[treated]))
    on_plates = np.flatnonzero(np.isin(compared.control_plate, compared.plate[treated]))
    n_most = max(3, parameters.max_joint_wells // n_plates)
    controls = on_plates[_at_most(compared.control_plate[on_plates], n_most, rng)]
    distances = pairwise_distances(np.concatenate([compared.treated[treated], compared.controls[controls]]))
    plates = np.concatenate([compared.plate[treated], compared.control_plate[controls]])
    unit = np.unique(compared.unit[treated], return_inverse=True)[1]
    groups = ManyGroups(unit, compared.plate[treated], compared.control_plate[controls])
    observed = groups.measures(distances, np.arange(len(plates)))
    null = (groups.measures(distances, permuted_within(plates, rng)) for _ in range(parameters.n_permutations))
    return np.stack([observed, *null], axis=1)
