"""Intervals: the same as scipy's BCa where rows are independent, wide enough where pairs share genes."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binom

from cellassets.statistics import bootstrap
from cellassets.statistics.bootstrap import bootstrap_interval


def alone(values):
    return np.arange(len(values))[:, None]


@pytest.mark.parametrize("seed", range(3))
def test_independent_rows_have_the_textbook_interval(monkeypatch, seed):
    monkeypatch.setattr(bootstrap, "N_RESAMPLES", 20_000)
    values = np.exp(np.random.default_rng(seed).standard_normal(40))
    expected = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=20_000, rng=seed).confidence_interval
    width = expected.high - expected.low
    assert bootstrap_interval(values, alone(values)) == pytest.approx(tuple(expected), abs=0.03 * width)


def test_an_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    n_seeds, n_held = 300, 0
    for seed in range(n_seeds):
        values = rng.beta(5, 1, 60)
        low, high = bootstrap_interval(values, alone(values), seed=seed)
        n_held += low <= 5 / 6 <= high
    assert binom.ppf(0.005, n_seeds, 0.95) <= n_held + 0.015 * n_seeds  # BCa of 60 skewed values: 1 to 2% too short


def pairs_of_cliques(rng, n_genes=48, size=4):
    """Whether each pair within a clique is a hit, where hits depend on the genes of the pair."""
    gene = rng.standard_normal(n_genes)
    pairs = np.array([pair for s in range(0, n_genes, size) for pair in combinations(range(s, s + size), 2)])
    return (gene[pairs].sum(axis=1) + rng.standard_normal(len(pairs)) > 1.0).astype(np.float64), pairs


def test_pairs_that_share_genes_have_intervals_that_are_wide_enough():
    rng = np.random.default_rng(1)
    truth = np.mean([pairs_of_cliques(rng)[0].mean() for _ in range(2000)])
    held, naive = 0, 0
    for seed in range(200):
        values, pairs = pairs_of_cliques(rng)
        low, high = bootstrap_interval(values, pairs, seed=seed)
        held += low <= truth <= high
        low, high = bootstrap_interval(values, alone(values), seed=seed)
        naive += low <= truth <= high
    assert held >= binom.ppf(0.01, 200, 0.95)
    assert naive < binom.ppf(0.01, 200, 0.95), "taking pairs for independent is too sure of itself"


def test_what_all_rows_share_widens_the_interval():
    values = np.random.default_rng(2).random(50)
    low, high = bootstrap_interval(values, alone(values))
    wider_low, wider_high = bootstrap_interval(values, alone(values), shared_error=0.2)
    assert wider_low < low - 0.2
    assert wider_high > high + 0.2


@pytest.mark.parametrize("values", [[0.5], [0.3, 0.3, 0.3]])
def test_values_without_spread_have_an_interval_of_no_width(values):
    values = np.array(values)
    low, high = bootstrap_interval(values, alone(values))
    assert low == high == values.mean()


def test_an_interval_does_not_hang_on_the_size_of_blocks(monkeypatch):
    values, pairs = pairs_of_cliques(np.random.default_rng(3))
    whole = bootstrap_interval(values, pairs)
    monkeypatch.setattr(bootstrap, "BLOCK_WEIGHTS", 1000)
    assert bootstrap_interval(values, pairs) == pytest.approx(whole, abs=0.02)
