"""Perturbation magnitude: how far are the wells of a perturbation from the negative controls of their plates?"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from pydantic import Field

from cellassets.benchmarks.definition import Row
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.replicates.against_controls import ComparedWells, chosen_within, compared_wells, joint_part
from cellassets.benchmarks.replicates.chosen_wells import UnitParameters, chosen_wells
from cellassets.benchmarks.rows import influences_of, summary_score, unit_scores
from cellassets.statistics.energy import ManyGroups, influences_of_others, pairwise_distances, two_group_measures
from cellassets.statistics.permutation import mean_over_nodes, permuted_within


class MagnitudeParameters(UnitParameters):
    """How many wells are compared with each other.

    `max_controls_per_plate` limits the controls that a perturbation is compared with. `max_joint_wells` limits the
    treated wells, and the controls, of the joint permutations behind the summary's null distribution; where there are
    more, some perturbations are drawn at random.
    """

    max_controls_per_plate: int = Field(
        default=32, ge=3, description="Controls of a plate that a perturbation is compared with, at most"
    )
    max_joint_wells: int = Field(
        default=800, ge=20, description="Treated wells, and controls, in the null distribution of the summary, at most"
    )


def perturbation_magnitude(judged: JudgedMap, parameters: MagnitudeParameters) -> list[Row]:
    """Returns the energy distance of each perturbation's wells from the negative controls of the same plates.

    Only held-out controls are used, because alignment moved the others to the origin. The null distribution of a
    perturbation permutes labels between its wells and those controls, within plates. The summary's null distribution
    permutes the labels of all these wells together, because perturbations share their controls.

    Raises:
        BenchmarkError: no perturbation has two wells on plates with three held-out negative controls.

    Source: magnitude of Celik et al. (2024), PLOS Comput Biol 20:e1012463, with a null distribution matched by plate.
    """
    rng = np.random.default_rng(parameters.seed)
    compared = compared_wells(
        "perturbation_magnitude",
        chosen_wells(judged, parameters),
        max_controls_per_plate=parameters.max_controls_per_plate,
        rng=rng,
    )
    own, influences = own_draws(compared, parameters, rng)
    joint, n_joint = _joint_draws(compared, parameters, rng)
    n_wells = np.bincount(compared.unit)
    nodes = np.arange(len(n_wells))[:, None]
    magnitude = mean_over_nodes(own[0, 0], nodes, influences=influences)
    summary = summary_score("magnitude", magnitude, joint[0], within=(-np.inf, 1.0))
    return [
        replace(summary, n_null_wells=n_joint),
        *unit_scores("magnitude", compared.names, own[0], n_wells=n_wells, end=1.0),
        *unit_scores("energy_distance", compared.names, own[1], n_wells=n_wells),
        *influences_of("magnitude", compared.control_names, influences),
    ]


def own_draws(
    compared: ComparedWells, parameters: MagnitudeParameters, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "measure draw unit"], Float[np.ndarray, "control"]]:
    """Returns each perturbation against the controls of its plates, as observed (row 0) and with labels permuted.

    Also by how much the mean magnitude would fall without each control.

    Args:
        compared: perturbations and controls.
        parameters: number of permutations.
        rng: source of the permutations.
    """
    draws = []
    influences = np.zeros(len(compared.controls))
    for number in range(len(compared.names)):
        own = np.flatnonzero(compared.unit == number)
        controls = np.flatnonzero(np.isin(compared.control_plate, compared.plate[own]))
        distances = pairwise_distances(np.concatenate([compared.treated[own], compared.controls[controls]]))
        plates = np.concatenate([compared.plate[own], compared.control_plate[controls]])
        permuted = chosen_within(plates, len(own), parameters.n_permutations, rng)
        draws.append(two_group_measures(distances, np.concatenate([np.arange(len(own))[None], permuted])))
        influences[controls] += influences_of_others(distances, len(own)) / len(compared.names)
    return np.stack(draws, axis=2), influences


def _joint_draws(
    compared: ComparedWells, parameters: MagnitudeParameters, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "measure draw unit"], int | None]:
    """All perturbations: as observed, and with the labels of all wells permuted within plates.

    Also the number of treated wells, where they are a random part.
    """
    treated, controls = joint_part(compared, parameters.max_joint_wells, rng)
    distances = pairwise_distances(np.concatenate([compared.treated[treated], compared.controls[controls]]))
    plates = np.concatenate([compared.plate[treated], compared.control_plate[controls]])
    unit = np.unique(compared.unit[treated], return_inverse=True)[1]
    groups = ManyGroups(unit, compared.plate[treated], compared.control_plate[controls])
    observed = groups.measures(distances, np.arange(len(plates)))
    null = (groups.measures(distances, permuted_within(plates, rng)) for _ in range(parameters.n_permutations))
    return np.stack([observed, *null], axis=1), len(treated) if len(treated) < len(compared.treated) else None
