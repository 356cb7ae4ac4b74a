"""The gain of a candidate: its one-sided tests, and what the data at hand could show."""

import math

import numpy as np
import pytest
from scipy import stats

from cellassets.judging.gain import GUARD_LEVEL, Gain
from cellassets.statistics.permutation import mean_over_nodes


def gain_of(values, *, influences=None, is_higher_better=True):
    values = np.asarray(values, dtype=np.float64)
    return Gain(mean_over_nodes(values, np.arange(len(values))[:, None], influences=influences), is_higher_better)


VALUES = np.random.default_rng(0).normal(0.01, 0.2, 40)


@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_the_p_value_is_that_of_a_one_sided_t_test_against_minus_the_margin(margin):
    expected = stats.ttest_1samp(VALUES, -margin, alternative="greater").pvalue
    assert gain_of(VALUES).p_value(margin) == pytest.approx(expected)


def test_a_guard_is_passed_exactly_where_the_interval_is_above_minus_the_margin():
    gain = gain_of(VALUES)
    low, _ = gain.interval
    assert gain.p_value(-low + 1e-9) < GUARD_LEVEL < gain.p_value(-low - 1e-9)


def test_where_lower_is_better_a_fall_is_a_gain():
    rise, fall = gain_of(VALUES), gain_of(-VALUES, is_higher_better=False)
    assert fall.value == rise.value
    assert fall.interval == pytest.approx(rise.interval)
    assert fall.p_value(0.02) == pytest.approx(rise.p_value(0.02))


def test_a_p_value_is_never_smaller_than_flipping_signs_can_give():
    assert gain_of(np.full(6, 0.3)).p_value() == 2.0**-6
    assert gain_of(np.full(6, 0.3)).p_value(0.1) == 2.0**-6
    assert gain_of(np.zeros(6)).p_value() == 1.0
    assert gain_of([1.0, 1.001, 0.999]).p_value() == 2.0**-3


def test_a_true_gain_of_what_is_detectable_is_found_in_eight_of_ten_cases():
    """By the non-central t distribution, which the formula approximates."""
    gain = gain_of(VALUES)
    for level in (0.025, 0.0001):
        shift = gain.detectable(level) / gain.mean.standard_error
        power = stats.nct.sf(stats.t.isf(level, 39), 39, shift)
        assert power == pytest.approx(0.8, abs=0.02)


def test_what_is_detectable_does_not_depend_on_the_gain():
    assert gain_of(VALUES + 5).detectable(0.01) == pytest.approx(gain_of(VALUES).detectable(0.01))


def test_the_number_needed_is_the_smallest_that_detects_the_margin():
    gain = gain_of(VALUES)
    n_needed = gain.n_needed(0.05)
    assert gain.detectable(GUARD_LEVEL, n_needed) <= 0.05 < gain.detectable(GUARD_LEVEL, n_needed - 1)
    by_normal = (1.959964 + 0.841621) ** 2 * VALUES.var(ddof=1) / 0.05**2
    assert n_needed == pytest.approx(by_normal, rel=0.05)


def test_more_perturbations_do_not_help_where_the_controls_leave_too_large_an_error():
    loud = np.array([0.03, -0.03])
    assert gain_of(VALUES, influences=loud).n_needed(0.05) is None
    assert gain_of(VALUES, influences=loud / 10).n_needed(0.05) > gain_of(VALUES).n_needed(0.05)


def test_no_loss_can_be_ruled_out_with_five_perturbations():
    assert math.isinf(gain_of(VALUES[:5]).detectable(GUARD_LEVEL))
    assert math.isfinite(gain_of(VALUES[:6]).detectable(GUARD_LEVEL))
    assert gain_of(np.zeros(3)).n_needed(0.05) == 6
