"""Perturbation magnitude: how far do the wells of a perturbation lie from the negative controls of their plates?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field

from cellassets.configuration import Parameters
from cellassets.errors import BenchmarkError
from cellassets.scoring.definition import JudgedMap, RankedBy, Score, benchmark
from cellassets.scoring.rows import summary_scores, unit_scores
from cellassets.scoring.statistics import permuted_within


class MagnitudeParameters(Parameters):
    """How many permutations and resamples; how many wells are compared with each other at once.

    `max_controls` bounds the controls that one perturbation is compared with, `max_joint_wells` the wells of the
    summary's joint permutations; where there are more, they are drawn at random, whole perturbations at a time.
    """

    n_permutations: int = Field(default=1000, ge=99)
    n_resamples: int = Field(default=2000, ge=100)
    max_controls: int = Field(default=400, ge=4)
    max_joint_wells: int = Field(default=1200, ge=20)
    seed: int = 0


@benchmark(
    title="Perturbation magnitude",
    description=(
        "Share of label permutations among a perturbation's wells and the controls of its plates that lie less far "
        "apart than the two do; 0.5 by chance, 1 at best."
    ),
    code_version="1",
    parameters=MagnitudeParameters,
    ranked_by=RankedBy("magnitude_percentile", "magnitude_percentile"),
)
def perturbation_magnitude(judged: JudgedMap, parameters: MagnitudeParameters) -> list[Score]:
    """Returns the energy distance of each perturbation's wells to the negative controls of the same plates.

    Only controls that alignment never saw are used: the others were moved to the origin by the fit. A perturbation's
    own null permutes labels between its wells and those controls, within plates. The summary's null permutes the labels
    of all these wells at once, since perturbations share their controls.

    Raises:
        BenchmarkError: no plate with a treated well has a held-out negative control.

    Source: Szekely and Rizzo (2013), J. Stat. Plan. Inference 143:1249, for the statistic; magnitude of Celik et al.
    (2024), PLOS Comput Biol 20:e1012463, for the benchmark.
    """
    usable = _usable_wells(judged)
    rng = np.random.default_rng(parameters.seed)
    nulls, observed = [], []
    for number in range(len(usable.names)):
        distances, is_treated, plates = _pool(usable, number, parameters.max_controls, rng)
        draws = np.stack([is_treated[permuted_within(plates, rng)] for _ in range(parameters.n_permutations)])
        energy = energy_distances(distances, np.vstack([is_treated, draws]))
        observed.append(energy[0])
        nulls.append(energy[1:])
    units = usable.names
    rows = unit_scores(
        "magnitude", units, np.array(observed), np.stack(nulls, axis=1), n_wells=np.bincount(usable.unit)
    )
    joint = _joint_permutations(usable, parameters, rng)
    summary = summary_scores("magnitude", joint[0], joint[1:], n_resamples=parameters.n_resamples, seed=parameters.seed)
    return [*summary, *rows]


@dataclass(frozen=True)
class _Usable:
    """Treated wells and the controls that they can be compared with.

    `unit` is a number a treated well; `plate` and `control_plate` number the plates of both kinds.
    """

    names: list[str]
    treated: Float[np.ndarray, "well feature"]
    unit: Int[np.ndarray, "well"]
    plate: Int[np.ndarray, "well"]
    controls: Float[np.ndarray, "control feature"]
    control_plate: Int[np.ndarray, "control"]


def _usable_wells(judged: JudgedMap) -> _Usable:
    control_plate = judged.plate_index[judged.is_held_out_control]
    is_usable = judged.is_treatment & np.isin(judged.plate_index, control_plate)
    if not is_usable.any():
        message = (
            "perturbation_magnitude: no plate with a treated well has a negative control that alignment did not see; "
            "raise held_out_controls_frac in mapping.yaml, or add control wells"
        )
        raise BenchmarkError(message)
    names, unit = np.unique(np.array(judged.units)[is_usable], return_inverse=True)
    return _Usable(
        names=names.tolist(),
        treated=judged.vectors[is_usable].astype(np.float64),
        unit=unit,
        plate=judged.plate_index[is_usable],
        controls=judged.vectors[judged.is_held_out_control].astype(np.float64),
        control_plate=control_plate,
    )


def _pool(
    usable: _Usable, number: int, max_controls: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "well well"], Bool[np.ndarray, "well"], Int[np.ndarray, "well"]]:
    """Distances between one perturbation's wells and the controls of its plates, which is which, and their plates."""
    is_own = usable.unit == number
    controls = np.flatnonzero(np.isin(usable.control_plate, usable.plate[is_own]))
    if len(controls) > max_controls:
        controls = rng.choice(controls, max_controls, replace=False)
    wells = np.concatenate([usable.treated[is_own], usable.controls[controls]])
    plates = np.concatenate([usable.plate[is_own], usable.control_plate[controls]])
    is_treated = np.arange(len(wells)) < is_own.sum()
    return pairwise_distances(wells), is_treated, plates


def energy_distances(
    distances: Float[np.ndarray, "well well"], is_treated: Bool[np.ndarray, "draw well"]
) -> Float[np.ndarray, "draw"]:
    """Returns 2 E|x - y| - E|x - x'| - E|y - y'| between the marked wells x and the others y, a value a draw.

    Means are over all ordered pairs, each well with itself included, which makes the distance at least 0.
    """
    marks = is_treated.astype(np.float64)
    n_x = marks.sum(axis=1)
    n_y = len(distances) - n_x
    row_sums = distances.sum(axis=1)
    within_x = np.einsum("dw,dw->d", marks @ distances, marks)
    from_x = marks @ row_sums
    between = from_x - within_x
    within_y = row_sums.sum() - 2 * from_x + within_x
    return 2 * between / (n_x * n_y) - within_x / n_x**2 - within_y / n_y**2


def pairwise_distances(wells: Float[np.ndarray, "well feature"]) -> Float[np.ndarray, "well well"]:
    """Returns the Euclidean distance between every two wells."""
    squares = np.einsum("wf,wf->w", wells, wells)
    squared = squares[:, None] + squares[None] - 2 * wells @ wells.T
    np.fill_diagonal(squared, 0.0)
    return np.sqrt(np.maximum(squared, 0.0))


def _joint_permutations(
    usable: _Usable, parameters: MagnitudeParameters, rng: np.random.Generator
) -> Float[np.ndarray, "draw unit"]:
    """Energy distances of the perturbations, as observed (row 0) and with all labels permuted within plates."""
    units, is_kept = _joint_units(usable, parameters.max_joint_wells, rng)
    n_controls = min(len(usable.controls), parameters.max_joint_wells)
    controls = np.sort(rng.choice(len(usable.controls), n_controls, replace=False))
    wells = np.concatenate([usable.treated[is_kept], usable.controls[controls]])
    plates = np.concatenate([usable.plate[is_kept], usable.control_plate[controls]])
    n_plates = plates.max() + 1
    groups = np.concatenate([units, len(np.unique(units)) + usable.control_plate[controls]])
    n_units = len(np.unique(units))
    judge = _JointEnergy(pairwise_distances(wells), n_units, n_plates, plates)
    draws = [groups, *(groups[permuted_within(plates, rng)] for _ in range(parameters.n_permutations))]
    return np.stack([judge.energies(draw) for draw in draws])


def _joint_units(
    usable: _Usable, max_wells: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "well"], Bool[np.ndarray, "all"]]:
    """Numbers of the units of the wells that are kept, from 0 on, and which wells those are."""
    counts = np.bincount(usable.unit)
    order = rng.permutation(len(counts))
    n_kept = max(1, int((np.cumsum(counts[order]) <= max_wells).sum()))
    is_kept = np.isin(usable.unit, order[:n_kept])
    return np.unique(usable.unit[is_kept], return_inverse=True)[1], is_kept


@dataclass(frozen=True)
class _JointEnergy:
    """Energy distances of all units from one matrix of distances, for any assignment of labels."""

    distances: Float[np.ndarray, "well well"]
    n_units: int
    n_plates: int
    plates: Int[np.ndarray, "well"]

    def energies(self, groups: Int[np.ndarray, "well"]) -> Float[np.ndarray, "unit"]:
        """Returns a value a unit: its distance to the controls of the plates that it has wells on.

        Args:
            groups: below `n_units`: a unit; from there on: a control of plate `group - n_units`.
        """
        n_groups = self.n_units + self.n_plates
        marks = np.zeros((len(groups), n_groups))
        marks[np.arange(len(groups)), groups] = 1.0
        sums = marks.T @ (self.distances @ marks)
        counts = marks.sum(axis=0)
        is_on = np.zeros((self.n_units, self.n_plates))
        is_unit = groups < self.n_units
        is_on[groups[is_unit], self.plates[is_unit]] = 1.0
        n_x = counts[: self.n_units]
        n_y = is_on @ counts[self.n_units :]
        between = np.einsum("up,up->u", sums[: self.n_units, self.n_units :], is_on)
        within_x = np.diagonal(sums)[: self.n_units]
        within_y = np.einsum("up,pq,uq->u", is_on, sums[self.n_units :, self.n_units :], is_on)
        return 2 * between / (n_x * n_y) - within_x / n_x**2 - within_y / n_y**2
