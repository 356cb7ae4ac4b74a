"""Pairs that share hubs: a gene with many partners is one observation, not as many as it has partners.

A difference of two models is the sum of a part of the hub and a part of the pair; its expectation is 0.
"""

import numpy as np
import pytest
from scipy.stats import binom

from cellassets.statistics.intervals import dependent_squares, free_nodes
from cellassets.statistics.permutation import mean_over_nodes

N_DRAWS = 400


def star(n_hubs, n_pairs=30):
    """Pairs of a few hubs with partners of their own."""
    return np.array([(pair % n_hubs, n_hubs + pair) for pair in range(n_pairs)])


def differences(nodes, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(int(nodes[:, 0].max()) + 1)[nodes[:, 0]] + rng.standard_normal(len(nodes))


@pytest.mark.parametrize("n_hubs", [2, 4, 10])
def test_a_few_hubs_do_not_make_equal_models_different(n_hubs):
    nodes = star(n_hubs)
    means = [mean_over_nodes(differences(nodes, seed), nodes) for seed in range(N_DRAWS)]
    assert sum(mean.two_sided_p_value() <= 0.05 for mean in means) <= binom.ppf(0.999, N_DRAWS, 0.05)
    ends = [mean.interval() for mean in means]
    assert sum(low <= 0 <= high for low, high in ends) >= binom.ppf(0.001, N_DRAWS, 0.95)


def test_one_gene_in_all_pairs_says_nothing():
    nodes = star(1)
    mean = mean_over_nodes(differences(nodes, 0) + 5.0, nodes)
    assert np.isinf(mean.standard_error)
    assert mean.two_sided_p_value() == 1.0
    assert mean.interval() == (None, None)
    hits = mean_over_nodes((differences(nodes, 0) > 0).astype(float), nodes)
    assert hits.interval(within=(0.0, 1.0)) == (None, None)


def test_a_difference_is_still_found_over_some_hubs():
    nodes = star(10)
    assert mean_over_nodes(differences(nodes, 1) + 3.0, nodes).two_sided_p_value() < 1e-4


def test_degrees_of_freedom_fall_with_hubs():
    assert free_nodes(star(30)) == 59
    assert free_nodes(star(4)) == 4
    assert free_nodes(star(1)) == 1
    assert free_nodes(np.arange(7)[:, None]) == 6


def test_totals_of_nodes_are_as_in_the_jackknife():
    """Two hubs with two pairs each: the total 1 of a hub with half of the pairs counts twice, less a sixth."""
    nodes, residuals = star(2, 4), np.array([0.5, -0.5, 0.5, -0.5])
    hub, leaf = (1 - 1 / 6) / (1 - 1 / 2), (1 - 1 / 6) / (1 - 1 / 4)
    squares = 2 * hub**2 + 4 * (0.5 * leaf) ** 2
    twice = 4 * 0.25 * (hub**2 + leaf**2) / 2
    assert dependent_squares(residuals, nodes) == pytest.approx(squares - twice)


def test_values_of_single_perturbations_have_the_standard_error_of_a_mean():
    values = np.random.default_rng(0).standard_normal(12)
    mean = mean_over_nodes(values, np.arange(12)[:, None])
    assert mean.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(12))
