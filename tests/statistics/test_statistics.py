"""Statistics against hand-worked numbers and independent implementations."""

import numpy as np
import pytest
from scipy import stats

from cellassets.errors import StatisticsError
from cellassets.statistics import permutation as statistics
from cellassets.statistics.permutation import (
    benjamini_hochberg,
    blocks,
    mean_over_nodes,
    null_percentiles,
    permuted_within,
    settled_ties,
    upper_p_values,
)

ALONE = np.arange(8)[:, None]
VALUES = np.array([1.0, 2.0, 4.0, 4.0, 9.0, -3.0, 0.5, 6.5])


def test_a_p_value_counts_the_observed_draw_and_ties():
    null = np.array([[1.0], [2.0], [3.0], [4.0]])
    assert upper_p_values(np.array([3.0]), null)[0] == 3 / 5
    assert upper_p_values(np.array([9.0]), null)[0] == 1 / 5


def test_q_values_are_those_of_scipy():
    p_values = np.random.default_rng(0).random(50) ** 2
    np.testing.assert_allclose(benjamini_hochberg(p_values), stats.false_discovery_control(p_values))


def test_q_values_by_hand():
    np.testing.assert_allclose(benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.5])), [0.04, 0.16 / 3, 0.16 / 3, 0.5])


def test_percentiles_share_ties_and_average_to_a_half():
    draws = np.array([[5.0], [1.0], [1.0], [7.0]])
    np.testing.assert_allclose(null_percentiles(draws)[:, 0], [0.625, 0.25, 0.25, 0.875])


def test_sums_in_another_order_tie():
    draws = np.array([[0.1 + 0.2 + 0.3], [0.3 + 0.2 + 0.1], [0.5]])
    assert draws[0, 0] != draws[1, 0]
    settled = settled_ties(draws)
    assert settled[0, 0] == settled[1, 0] != settled[2, 0]


def test_permuting_within_groups_never_leaves_them():
    groups = np.array([2, 0, 1, 0, 2, 2, 1, 0])
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(100):
        permutation = permuted_within(groups, rng)
        assert sorted(permutation) == list(range(8))
        np.testing.assert_array_equal(groups[permutation], groups)
        seen.add(tuple(permutation))
    assert len(seen) > 40  # of 3! 2! 3! = 72


def test_every_permutation_within_groups_is_equally_likely():
    rng = np.random.default_rng(1)
    draws = [tuple(permuted_within(np.array([0, 1, 0, 0]), rng)) for _ in range(6000)]
    _, counts = np.unique(draws, axis=0, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.001


def test_the_error_of_independent_values_is_the_textbook_one():
    mean = mean_over_nodes(VALUES, ALONE)
    assert mean.standard_error == pytest.approx(stats.sem(VALUES))
    expected = stats.t.interval(0.95, 7, loc=3.0, scale=stats.sem(VALUES))
    assert mean.student_interval() == pytest.approx(expected)
    assert mean.two_sided_p_value() == pytest.approx(stats.ttest_1samp(VALUES, 0).pvalue)


def test_the_error_of_pairs_is_the_sum_over_pairs_that_share_a_gene():
    rng = np.random.default_rng(0)
    nodes = np.array([(0, 1), (0, 2), (1, 2), (3, 4), (4, 5), (0, 5)])
    values = rng.standard_normal(6)
    residuals = values - values.mean()
    naive = sum(residuals[i] * residuals[j] for i in range(6) for j in range(6) if set(nodes[i]) & set(nodes[j]))
    naive = max(naive, (residuals**2).sum())
    mean = mean_over_nodes(values, nodes)
    assert mean.standard_error == pytest.approx(np.sqrt(naive / 36 * 6 / 5))


def test_pairs_that_rise_and_fall_with_their_genes_have_a_larger_error():
    gene = np.repeat([1.0, 0.0], 6)
    cliques = np.array([(a, b) for s in range(0, 8, 4) for a in range(s, s + 4) for b in range(a + 1, s + 4)])
    apart = np.arange(24).reshape(12, 2)
    assert mean_over_nodes(gene, cliques).standard_error > 1.5 * mean_over_nodes(gene, apart).standard_error


def test_influences_of_shared_wells_widen_the_interval():
    alone = mean_over_nodes(VALUES, ALONE).standard_error
    both = mean_over_nodes(VALUES, ALONE, influences=np.array([3.0, -4.0])).standard_error
    assert both == pytest.approx(np.hypot(alone, 5.0))


def test_equal_values_are_no_proof():
    assert mean_over_nodes(np.zeros(8), ALONE).two_sided_p_value() == 1.0
    assert mean_over_nodes(np.ones(8), ALONE).two_sided_p_value() == 2.0**-7
    assert mean_over_nodes(np.ones(1), ALONE[:1]).two_sided_p_value() == 0.5


def test_an_interval_stays_where_the_statistic_can_be():
    low, high = mean_over_nodes(np.array([0.9, 1.0, 1.0, 0.6]), ALONE[:4]).interval(within=(0.0, 1.0))
    assert 0 < low < high == 1.0


@pytest.mark.parametrize(("n_draws", "n_values"), [(10, 3), (1, 1), (7, 100), (5, 0)])
def test_blocks_add_up_and_stay_small(monkeypatch, n_draws, n_values):
    monkeypatch.setattr(statistics, "BLOCK_VALUES", 12)
    sizes = list(blocks(n_draws, n_values))
    assert sum(sizes) == n_draws
    assert all(size == 1 or size * n_values <= 12 for size in sizes)


@pytest.mark.parametrize("wrong", [-0.1, 1.1])
def test_p_values_outside_0_to_1_are_refused(wrong):
    with pytest.raises(StatisticsError, match=r"benjamini_hochberg: p-values from .* expected 0 to 1"):
        benjamini_hochberg(np.array([0.5, wrong]))
