"""How far a perturbation is from its controls, with an interval: the distance of the means, and the magnitude.

Pure functions of arrays; `cellassets.hits` chooses the wells. Neither measure grows with the number of wells. Intervals
are over wells: the jackknife over treated wells, plus the share of the controls.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cellassets.errors import StatisticsError
from cellassets.finite import finite_arguments
from cellassets.statistics.energy import Distances, GroupSums, influences_of_others

LEVEL = 0.95
MIN_WELLS = 3  # of a perturbation: the jackknife of two wells leaves none to compare


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; the ends are None where no interval can be given."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ControlSpread:
    """The negative controls of a dataset: their mean on every plate, and their spread within plates.

    Attributes:
        means: mean of the controls of each plate; zeros for a plate without controls.
        counts: number of controls of each plate.
        residuals: each control minus the mean of its plate.
        plate: plate of each control.
    """

    means: Float[np.ndarray, "plate feature"]
    counts: Int[np.ndarray, "plate"]
    residuals: Float[np.ndarray, "control feature"]
    plate: Int[np.ndarray, "control"]

    @classmethod
    def of(cls, controls: Float[np.ndarray, "control feature"], plate: Int[np.ndarray, "control"]) -> "ControlSpread":
        """Returns the means and the spread of controls.

        Args:
            controls: vectors of the controls.
            plate: number of the plate of each control.
        """
        counts = np.bincount(plate)
        sums = np.zeros((len(counts), controls.shape[1]))
        np.add.at(sums, plate, controls)
        means = sums / np.maximum(counts, 1)[:, None]
        return cls(means, counts, controls - means[plate], plate)

    @property
    def variance(self) -> float:
        """Variance of a control well within its plate, summed over features; 0 where it cannot be estimated."""
        n_free = len(self.plate) - int((self.counts > 0).sum())
        return float((self.residuals**2).sum()) / n_free if n_free > 0 else 0.0

    @property
    def relative_error(self) -> float:
        """Variance of the estimate of `variance`, as a share of its square."""
        squares = (self.residuals**2).sum(axis=1)
        return float(squares.var()) / (len(squares) * float(squares.mean()) ** 2)

    @property
    def deviation(self) -> float:
        """Standard deviation of a control well within its plate: the root of the mean variance of a feature."""
        return float(np.sqrt(self.variance / self.residuals.shape[1]))


@finite_arguments(StatisticsError)
def distance_from_controls(
    wells: Float[np.ndarray, "well feature"], plate: Int[np.ndarray, "well"], controls: ControlSpread
) -> Estimate | None:
    """Returns how far the mean of the wells is from the controls of their plates, in standard deviations of a control.

    The squared distance is the mean of z_i z_j over pairs of different wells, where z is a well minus the mean of the
    controls of its plate. Noise does not enter it, so it estimates the distance of the true means, whatever the number
    of wells; an estimate below 0 counts as 0. The interval is Student's, with the degrees of freedom of Welch and
    Satterthwaite. None where the spread of the controls cannot be estimated.

    Args:
        wells: vectors of the treated wells, at least two; each plate has a control.
        plate: number of the plate of each well.
        controls: all controls that may be compared with.

    Source: the cross-validated distance of Walther et al. (2016), NeuroImage 137:188; jackknife of Efron and Stein
    (1981), Ann. Stat. 9:586.
    """
    scale, n_wells = controls.deviation, len(wells)
    if scale == 0:
        return None
    relative = wells - controls.means[plate]
    squared = squared_distance(relative, plate, controls)
    value = float(np.sqrt(max(squared, 0.0))) / scale
    if n_wells < MIN_WELLS:
        return Estimate(value)
    every = np.arange(n_wells)
    without = np.array([squared_distance(relative[every != i], plate[every != i], controls) for i in every])
    of_wells = (n_wells - 1) * float(without.var())
    of_controls, n_free = _variance_of_controls(relative, plate, controls)
    of_scale = squared**2 * controls.relative_error
    half = _half_width((of_wells, n_wells - 1), (of_controls, n_free), (of_scale, n_free))
    low, high = (float(np.sqrt(max(end, 0.0))) / scale for end in (squared - half, squared + half))
    return Estimate(value, low, high)


@finite_arguments(StatisticsError)
def magnitude_estimate(distances: Distances, n_wells: int) -> Estimate:
    """Returns the magnitude of the first wells against all others: their energy distance, as a share of its largest.

    The magnitude is that of `cellassets.statistics.energy.GroupSums`: 0 by chance, 1 where the wells of each group are
    equal and the groups differ. The interval is Student's, with the degrees of freedom of Welch and Satterthwaite.

    Args:
        distances: between all wells, the treated wells first; at least three controls follow.
        n_wells: number of treated wells, at least two.
    """
    n_controls = len(distances) - n_wells
    value = _magnitude(distances, n_wells)
    if n_wells < MIN_WELLS or n_controls < MIN_WELLS:
        return Estimate(value)
    without = np.fromiter(_magnitudes_without_each(distances, n_wells), dtype=np.float64)
    influences = influences_of_others(distances, n_wells)
    of_wells, of_controls = ((len(found) - 1) * float(found.var()) for found in (without, influences))
    half = _half_width((of_wells, n_wells - 1), (of_controls, n_controls - 1))
    return Estimate(value, value - half, min(value + half, 1.0))


@finite_arguments(StatisticsError)
def squared_distance(
    relative: Float[np.ndarray, "well feature"], plate: Int[np.ndarray, "well"], controls: ControlSpread
) -> float:
    """Returns the mean of the products of different wells, less the error of a control mean that two of them share.

    Args:
        relative: wells minus the mean of the controls of their plates, at least two.
        plate: number of the plate of each well.
        controls: all controls that may be compared with.
    """
    n_pairs = len(relative) * (len(relative) - 1)
    total = relative.sum(axis=0)
    products = float(total @ total) - float((relative**2).sum())
    n_on_plate = np.bincount(plate, minlength=len(controls.counts))
    shared = (n_on_plate * (n_on_plate - 1) / np.maximum(controls.counts, 1)).sum()
    return (products - controls.variance * float(shared)) / n_pairs


def _variance_of_controls(
    relative: Float[np.ndarray, "well feature"], plate: Int[np.ndarray, "well"], controls: ControlSpread
) -> tuple[float, int]:
    """The part of the variance of the squared distance that comes from the controls, and its degrees of freedom."""
    share = np.bincount(plate, minlength=len(controls.counts)) / len(plate)
    along = controls.residuals @ relative.mean(axis=0)
    n_free = len(along) - int((controls.counts > 0).sum())
    of_one_control = float((along**2).sum()) / n_free
    return 4 * of_one_control * float((share**2 / np.maximum(controls.counts, 1)).sum()), n_free


def _half_width(*parts: tuple[float, int]) -> float:
    """Half of the 95% interval from independent variances, each with its degrees of freedom."""
    from scipy.stats import t

    total = sum(variance for variance, _ in parts)
    if total == 0:
        return 0.0
    n_free = total**2 / sum(variance**2 / free for variance, free in parts)
    return float(t.ppf((1 + LEVEL) / 2, n_free)) * total**0.5


def _magnitude(distances: Distances, n_wells: int) -> float:
    own, others = distances[:n_wells, :n_wells], distances[n_wells:, n_wells:]
    sums = GroupSums(*(np.array([part.sum()]) for part in (own, distances[:n_wells, n_wells:], others)))
    return float(sums.measures(n_wells, len(others))[0, 0])


def _magnitudes_without_each(distances: Distances, n_wells: int) -> Iterator[float]:
    for left_out in range(n_wells):
        kept = np.arange(len(distances)) != left_out
        yield _magnitude(distances[np.ix_(kept, kept)], n_wells - 1)
