"""Step-down tests of doses: pooled magnitudes are those of the definition; p-values are uniform under the null."""

import numpy as np
import pytest
from scipy.stats import binom, kstest

from cellassets.statistics.dose_steps import _pooled_magnitudes, dose_step_p_value
from cellassets.statistics.energy import pairwise_distances, two_group_measures


def compound(seed, *, effects=(0.0, 0.0, 0.0), plate_effect=5.0, n_controls=8):
    """Two wells per dose on each of two plates, and controls; returns distances, doses and plates."""
    rng = np.random.default_rng(seed)
    dose = np.tile(np.concatenate([np.repeat(np.arange(len(effects)), 2), np.full(n_controls, -1)]), 2)
    plate = np.repeat([0, 1], len(dose) // 2)
    wells = rng.standard_normal((len(dose), 6)) + plate_effect * plate[:, None]
    wells[:, 0] += np.where(dose >= 0, np.array(effects)[dose], 0.0)
    return pairwise_distances(wells), dose, plate


def test_the_observed_magnitudes_pool_the_highest_doses():
    distances, dose, plate = compound(0)
    draws = _pooled_magnitudes(distances, np.where(dose < 0, 3, dose), plate, 99, np.random.default_rng(0))
    for first in range(3):
        own, controls = np.flatnonzero(dose >= first), np.flatnonzero(dose < 0)
        kept = np.concatenate([own, controls])
        expected = two_group_measures(distances[np.ix_(kept, kept)], np.arange(len(own))[None])[0, 0]
        assert draws[0, first] == pytest.approx(expected)


def test_labels_are_permuted_within_plates_only():
    distances, dose, plate = compound(1, plate_effect=1000.0)
    draws = _pooled_magnitudes(distances, np.where(dose < 0, 3, dose), plate, 199, np.random.default_rng(0))
    assert np.ptp(draws, axis=0).max() < 0.01, "a well on the other plate would be 1,000 away"


@pytest.mark.slow
def test_p_values_are_uniform_without_an_effect():
    found = [dose_step_p_value(*compound(seed), 199, np.random.default_rng(seed + 5000)) for seed in range(300)]
    assert kstest(found, "uniform").pvalue > 0.01
    assert sum(p <= 0.05 for p in found) <= binom.ppf(0.99, 300, 0.05)


def test_an_effect_that_grows_with_the_dose_is_found_and_pooling_helps():
    trend = [
        dose_step_p_value(*compound(seed, effects=(2.0, 2.0, 2.0)), 199, np.random.default_rng(seed))
        for seed in range(30)
    ]
    highest = []
    for seed in range(30):
        distances, dose, plate = compound(seed, effects=(2.0, 2.0, 2.0))
        kept = np.flatnonzero((dose == 2) | (dose < 0))
        part = distances[np.ix_(kept, kept)], np.where(dose[kept] < 0, -1, 0), plate[kept]
        highest.append(dose_step_p_value(*part, 199, np.random.default_rng(seed)))
    assert np.mean(np.array(trend) <= 0.01) > np.mean(np.array(highest) <= 0.01) + 0.2


@pytest.mark.parametrize("dose", [[0, -1, -1, -1], [0, 0, -1, -1]], ids=["one well", "two controls"])
def test_too_few_wells_are_not_tested(dose):
    distances = pairwise_distances(np.arange(8.0).reshape(4, 2))
    assert dose_step_p_value(distances, np.array(dose), np.zeros(4, dtype=int), 99, np.random.default_rng(0)) == 1.0


def test_wells_that_are_all_equal_are_not_called():
    p_value = dose_step_p_value(
        np.zeros((8, 8)), np.array([0, 0, 1, 1, -1, -1, -1, -1]), np.zeros(8, dtype=int), 99, np.random.default_rng(0)
    )
    assert p_value == 1.0
