"""Perturbation magnitude: how far do the wells of a perturbation lie from the negative controls of their plates?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field

from cellassets.configuration import Parameters
from cellassets.errors import BenchmarkError
from cellassets.scoring.definition import JudgedMap, RankedBy, Score, benchmark
from cellassets.scoring.rows import summary_score, unit_scores
from cellassets.scoring.statistics import null_percentiles, permuted_within


class MagnitudeParameters(Parameters):
    """How many permutations and resamples the scores stand on.

    `n_permutations` of a perturbation's own labels; `n_joint_permutations` of all labels at once for the summary, each
    judged by `n_inner_permutations`. `max_controls` bounds the controls that one perturbation is compared with; where
    there are more, they are drawn at random.
    """

    n_permutations: int = Field(default=1000, ge=99)
    n_joint_permutations: int = Field(default=199, ge=19)
    n_inner_permutations: int = Field(default=99, ge=19)
    n_resamples: int = Field(default=2000, ge=100)
    max_controls: int = Field(default=400, ge=4)
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
    wells, plates, pools = _pools(judged, parameters)
    rng = np.random.default_rng(parameters.seed)
    draws = np.stack(
        [
            energy_distances(pairwise_distances(wells[p.rows]), p.marks(plates, parameters.n_permutations, rng))
            for p in pools
        ],
        axis=1,
    )
    percentiles = null_percentiles(draws)
    joint = _joint_means(wells, plates, pools, parameters, rng)
    names, n_wells = [pool.name for pool in pools], np.array([pool.n_treated for pool in pools])
    return [
        summary_score(
            "magnitude_percentile",
            percentiles[0],
            joint[:, None],
            n_resamples=parameters.n_resamples,
            seed=parameters.seed,
        ),
        *unit_scores("magnitude_percentile", names, percentiles, n_wells=n_wells),
        *unit_scores("magnitude", names, draws, n_wells=n_wells),
    ]


@dataclass(frozen=True)
class _Pool:
    """One perturbation: the places of its wells among all usable ones, followed by those of its plates' controls."""

    name: str
    rows: Int[np.ndarray, "well"]
    n_treated: int

    def marks(
        self, plates: Int[np.ndarray, "usable"], n_draws: int, rng: np.random.Generator
    ) -> Bool[np.ndarray, "draw well"]:
        """Which of the wells count as treated: as they are (row 0), and with labels permuted within plates."""
        is_treated = np.arange(len(self.rows)) < self.n_treated
        own_plates = plates[self.rows]
        return np.stack([is_treated, *(is_treated[permuted_within(own_plates, rng)] for _ in range(n_draws))])


def _pools(
    judged: JudgedMap, parameters: MagnitudeParameters
) -> tuple[Float[np.ndarray, "usable feature"], Int[np.ndarray, "usable"], list[_Pool]]:
    """Vectors and plates of all wells that are compared, and what each perturbation is compared with."""
    has_controls = np.isin(judged.plate_index, judged.plate_index[judged.is_held_out_control])
    is_treated = judged.is_treatment & has_controls
    if not is_treated.any():
        message = (
            "perturbation_magnitude: no plate with a treated well has a negative control that alignment did not see; "
            "raise held_out_controls_frac in mapping.yaml, or add control wells"
        )
        raise BenchmarkError(message)
    usable = np.flatnonzero(is_treated | judged.is_held_out_control)
    plates, is_control = judged.plate_index[usable], judged.is_held_out_control[usable]
    units = np.array(judged.units)[usable]
    rng = np.random.default_rng(parameters.seed)
    pools = []
    for name in np.unique(units[~is_control]):
        own = np.flatnonzero((units == name) & ~is_control)
        controls = np.flatnonzero(is_control & np.isin(plates, plates[own]))
        if len(controls) > parameters.max_controls:
            controls = np.sort(rng.choice(controls, parameters.max_controls, replace=False))
        pools.append(_Pool(str(name), np.concatenate([own, controls]), len(own)))
    return judged.vectors[usable].astype(np.float64), plates, pools


def _joint_means(
    wells: Float[np.ndarray, "usable feature"],
    plates: Int[np.ndarray, "usable"],
    pools: list[_Pool],
    parameters: MagnitudeParameters,
    rng: np.random.Generator,
) -> Float[np.ndarray, "draw"]:
    """Mean percentile over perturbations: as observed (row 0), and with all labels permuted within plates at once."""
    marks = [pool.marks(plates, parameters.n_inner_permutations, rng) for pool in pools]
    orders = [np.arange(len(wells)), *(permuted_within(plates, rng) for _ in range(parameters.n_joint_permutations))]
    return np.array([_mean_percentile(wells[order], pools, marks) for order in orders])


def _mean_percentile(
    wells: Float[np.ndarray, "usable feature"], pools: list[_Pool], marks: list[Bool[np.ndarray, "draw well"]]
) -> float:
    places = []
    for pool, drawn in zip(pools, marks, strict=True):
        energy = energy_distances(pairwise_distances(wells[pool.rows]), drawn)
        places.append(((energy < energy[0]).sum() + 0.5 * (energy == energy[0]).sum()) / len(energy))
    return float(np.mean(places))


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
