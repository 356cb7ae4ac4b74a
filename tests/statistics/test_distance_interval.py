"""Distances from controls: worked by hand, unbiased for any number of wells, with intervals that hold the truth."""

import numpy as np
import pytest

from cellassets.statistics.distance_interval import ControlSpread, distance_from_controls, magnitude_estimate
from cellassets.statistics.energy import pairwise_distances

CONTROLS = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
ONE_PLATE = np.zeros(4, dtype=np.int64)


def test_the_distance_of_two_wells_is_that_worked_by_hand():
    # controls: mean 0, summed variance 4 / 3, deviation sqrt(2 / 3); wells (3, 4) and (5, 0) have the product 15, of
    # which 4 / 3 / 4 = 1 / 3 is the shared error of the control mean
    found = distance_from_controls(
        np.array([[3.0, 4.0], [5.0, 0.0]]), np.array([0, 0]), ControlSpread.of(CONTROLS, ONE_PLATE)
    )
    assert found.value == pytest.approx(((15 - 1 / 3) / (2 / 3)) ** 0.5)
    assert (found.low, found.high) == (None, None)


def test_wells_of_two_plates_share_no_error_of_a_control_mean():
    controls = np.concatenate([CONTROLS, CONTROLS + 10])
    spread = ControlSpread.of(controls, np.repeat([0, 1], 4))
    found = distance_from_controls(np.array([[3.0, 4.0], [15.0, 10.0]]), np.array([0, 1]), spread)
    assert found.value == pytest.approx((15 / (8 / 6 / 2)) ** 0.5)


def test_wells_that_point_away_from_each_other_have_the_distance_0():
    found = distance_from_controls(
        np.array([[3.0, 0.0], [-3.0, 0.0]]), np.array([0, 0]), ControlSpread.of(CONTROLS, ONE_PLATE)
    )
    assert found.value == 0.0


def test_one_control_per_plate_gives_no_distance():
    spread = ControlSpread.of(CONTROLS, np.arange(4))
    assert distance_from_controls(CONTROLS + 3.0, np.arange(4), spread) is None


def test_the_magnitude_is_that_of_a_loop_and_its_interval_is_the_jackknife():
    rng = np.random.default_rng(0)
    wells = np.concatenate([rng.standard_normal((4, 3)) + 2.0, rng.standard_normal((6, 3))])

    def magnitude(rows, n_own):
        own, others = rows[:n_own], rows[n_own:]
        mean = {
            name: np.mean(
                [np.linalg.norm(a - b) for i, a in enumerate(x) for j, b in enumerate(y) if x is not y or i != j]
            )
            for name, (x, y) in {"between": (own, others), "own": (own, own), "others": (others, others)}.items()
        }
        return (2 * mean["between"] - mean["own"] - mean["others"]) / (2 * mean["between"])

    value = magnitude(wells, 4)
    without_own = np.array([magnitude(np.delete(wells, i, axis=0), 3) for i in range(4)])
    without_other = np.array([magnitude(np.delete(wells, 4 + i, axis=0), 4) for i in range(6)])
    parts = [(n - 1) / n * ((x - x.mean()) ** 2).sum() for n, x in ((4, without_own), (6, without_other))]
    from scipy.stats import t

    n_free = sum(parts) ** 2 / (parts[0] ** 2 / 3 + parts[1] ** 2 / 5)
    half = t.ppf(0.975, n_free) * sum(parts) ** 0.5
    found = magnitude_estimate(pairwise_distances(wells), 4)
    assert (found.value, found.low) == pytest.approx((value, value - half))
    assert found.high == pytest.approx(min(1.0, value + half))


def test_two_wells_have_no_interval():
    found = magnitude_estimate(pairwise_distances(np.concatenate([CONTROLS[:2] + 3.0, CONTROLS])), 2)
    assert (found.low, found.high) == (None, None)


def simulated(distance, n_wells, n_features, seed, *, well_scale=1.0, plate_effect=5.0):
    rng = np.random.default_rng(seed)
    plates = plate_effect * rng.standard_normal((4, n_features))
    of_controls, of_wells = np.repeat(np.arange(4), 6), np.arange(n_wells) % 4
    controls = rng.standard_normal((24, n_features)) + plates[of_controls]
    wells = well_scale * rng.standard_normal((n_wells, n_features)) + plates[of_wells]
    wells[:, 0] += distance
    return distance_from_controls(wells, of_wells, ControlSpread.of(controls, of_controls))


@pytest.mark.parametrize("n_wells", [2, 16])
def test_the_squared_distance_does_not_grow_with_the_number_of_wells(n_wells):
    found = np.array([simulated(4.0, n_wells, 16, seed).value for seed in range(400)])
    error = (found**2).std() / 20
    assert abs((found**2).mean() - 16) < 4 * error + 0.2  # the scale's own error adds a little


@pytest.mark.parametrize("n_wells", [3, 8])
@pytest.mark.parametrize("distance", [0.0, 1.5, 6.0])
@pytest.mark.parametrize("well_scale", [1.0, 1.5])
def test_95_of_100_intervals_hold_the_true_distance(n_wells, distance, well_scale):
    found = [simulated(distance, n_wells, 16, seed, well_scale=well_scale) for seed in range(200)]
    assert np.mean([one.low <= distance <= one.high for one in found]) >= 0.92
