"""Intervals of means: exact for proportions, long enough for few and skewed units, none where nothing is known."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binom

from cellassets.errors import StatisticsError
from cellassets.statistics.intervals import effective_number, proportion_interval, skewed_interval
from cellassets.statistics.permutation import mean_over_nodes
from cellassets.studies.coverage import Population, populations, run_coverage

SHARE = (0.0, 1.0)


def alone(values):
    return np.arange(len(values))[:, None]


def interval(values, nodes=None, *, within=SHARE, influences=None):
    values = np.asarray(values, dtype=np.float64)
    nodes = alone(values) if nodes is None else np.asarray(nodes)
    return mean_over_nodes(values, nodes, influences=influences).interval(within=within)


@pytest.mark.parametrize(("n_hits", "n"), [(0, 6), (6, 6), (2, 20), (9, 10), (1, 200)])
def test_a_proportion_of_disjoint_pairs_has_the_exact_interval(n_hits, n):
    hits = np.arange(n) < n_hits
    expected = stats.binomtest(n_hits, n).proportion_ci(method="exact")
    assert interval(hits, np.arange(2 * n).reshape(n, 2)) == pytest.approx((expected.low, expected.high))


def test_none_of_six_and_six_of_six_are_not_certain():
    """1 - 0.025^(1/6) = 0.459."""
    assert interval(np.zeros(6)) == pytest.approx((0.0, 0.4593), abs=1e-4)
    assert interval(np.ones(6)) == pytest.approx((0.5407, 1.0), abs=1e-4)


def test_the_range_of_a_statistic_may_be_another_one():
    assert interval([-1.0] * 6, within=(-1.0, 1.0)) == pytest.approx((-1.0, 2 * 0.4593 - 1), abs=1e-3)


def test_one_unit_has_no_interval():
    assert interval([0.7]) == (None, None)
    assert interval([1.0]) == (None, None)
    assert interval([1.0, 0.0], [[0], [0]]) == (None, None), "two wells of one perturbation"


def test_equal_values_have_no_interval_but_at_the_end_of_a_range():
    assert interval([0.3, 0.3, 0.3]) == (None, None)
    assert interval([1.0, 1.0, 1.0], within=(-np.inf, 1.0)) == (None, None)


def test_pairs_that_share_genes_count_for_fewer():
    """Six pairs of four genes: each shares a gene with four others; 1 + 4 / 2 = 3 as many are needed at most."""
    clique = np.array(list(combinations(range(4), 2)))
    assert effective_number(np.zeros(6), clique, 0.0) == pytest.approx(2.0)
    assert interval(np.zeros(6), clique) == pytest.approx(proportion_interval(0.0, 2.0))
    apart = np.arange(12).reshape(6, 2)
    assert effective_number(np.array([1.0, 0, 0, 0, 0, 1.0]), apart, 0.0) == 6.0


def test_what_all_rows_share_widens_an_interval():
    rng = np.random.default_rng(2)
    for values in (rng.random(50), (rng.random(50) < 0.4).astype(float)):
        low, high = interval(values)
        wide_low, wide_high = interval(values, influences=np.array([0.06, 0.08]))
        assert wide_low < low - 0.04
        assert wide_high > high + 0.04


def test_an_interval_of_values_without_skewness_is_students():
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    expected = stats.t.interval(0.95, 4, loc=3.0, scale=stats.sem(values))
    assert interval(values, within=(-np.inf, np.inf)) == pytest.approx(tuple(expected))


def test_halls_transformation_is_inverted():
    """An end beyond Student's solves t + a t^2 + a^2 t^3 / 3 + skewness / 6 = -t(0.975)."""
    _, high = skewed_interval(0.0, 1.0, 9, skewness=0.4)
    t, a = -high, 0.4 / 3
    assert t + a * t**2 + a**2 * t**3 / 3 + 0.4 / 6 == pytest.approx(-stats.t.ppf(0.975, 9))
    low, _ = skewed_interval(0.0, 1.0, 9, skewness=0.4)
    assert low == pytest.approx(-stats.t.ppf(0.975, 9)), "the shorter end stays Student's"


def test_the_longer_tail_gets_the_longer_end():
    values = np.array([0.02, 0.03, 0.05, 0.04, 0.6, 0.1])
    low, high = interval(values)
    assert high - values.mean() > 1.3 * (values.mean() - low)
    mirrored_low, mirrored_high = interval(1 - values)
    assert (1 - mirrored_high, 1 - mirrored_low) == pytest.approx((low, high))


def held(population: Population, n_units, n_seeds=200):
    rng = np.random.default_rng(n_units)
    n_held = 0
    for _ in range(n_seeds):
        values, nodes = population.draw(n_units, rng)
        low, high = mean_over_nodes(values, nodes).interval(within=population.within)
        n_held += low is not None and low <= population.truth <= high
    return n_held


@pytest.mark.parametrize("population", populations(), ids=lambda one: one.units)
@pytest.mark.parametrize("n_units", [6, 20, 50])
def test_intervals_hold_the_truth_in_95_percent_of_draws(population, n_units):
    assert held(population, n_units) >= binom.ppf(0.001, 200, 0.95)


def test_a_few_pairs_have_intervals_that_taking_them_for_independent_would_not_give():
    (sharing,) = [one for one in populations() if one.units == "recall 0.5, pairs that share genes"]
    rng = np.random.default_rng(0)
    n_held = 0
    for _ in range(200):
        values, _ = sharing.draw(50, rng)
        low, high = interval(values)
        n_held += low <= sharing.truth <= high
    assert n_held < binom.ppf(0.001, 200, 0.95)


def test_the_study_counts_what_is_held_and_what_is_missing():
    found = run_coverage(20).filter(n_units=6)
    assert found["coverage"].is_between(0.7, 1).all()
    assert (found["mean_width"] > 0).all()
    assert found["missing_frac"].max() < 0.1


@pytest.mark.parametrize(("share", "n_trials"), [(-0.1, 5.0), (1.2, 5.0), (np.nan, 5.0), (0.5, -1.0), (0.5, np.nan)])
def test_a_share_that_is_not_a_proportion_is_refused(share, n_trials):
    with pytest.raises(StatisticsError, match=r"expected a share from 0 to 1 and a number of trials of 0 or more"):
        proportion_interval(share, n_trials)
