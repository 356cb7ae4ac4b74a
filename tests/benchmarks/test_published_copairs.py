"""copairs' statistics against plain loops that were compared with copairs 0.5.5 (data/derive_published.py)."""

import numpy as np
import pytest
from scipy import stats

from cellassets.benchmarks.published.copairs import (
    AveragePrecision,
    PairRule,
    average_precision,
    phenotypic_activity,
    phenotypic_consistency,
)
from cellassets.benchmarks.published.copairs_null import mean_average_precision, random_average_precisions
from cellassets.errors import BenchmarkError


def labels_of(wells):
    return [wells[name].to_numpy() for name in ("perturbation", "plate", "label")]


def assert_as_expected(scores, expected):
    assert [str(place) for place in np.flatnonzero(scores.n_positives)] == list(expected)
    places = [int(place) for place in expected]
    found = np.stack([scores.value, scores.normalised, scores.n_positives, scores.n_total], axis=1)
    np.testing.assert_allclose(found[places], list(expected.values()), atol=1e-12)
    others = np.setdiff1d(np.arange(len(found)), places)
    assert np.isnan(scores.value[others]).all()
    assert np.isnan(scores.normalised[others]).all()


def scores_of(values, *, n_positives, n_total):
    """Average precisions that all have one configuration."""
    values = np.array(values)
    counts = [np.full(len(values), count) for count in (n_positives, n_total)]
    return AveragePrecision(values, values, *counts)


@pytest.mark.usefixtures("_any_block_size")
def test_activity_is_the_published_one(published_table, published_expected):
    wells, vectors = published_table("wells")
    perturbation, plate, _ = labels_of(wells)
    is_control = perturbation == "NTC"
    assert_as_expected(phenotypic_activity(vectors, perturbation, is_control), published_expected["activity"])
    by_plate = phenotypic_activity(
        vectors,
        perturbation,
        is_control,
        positives=PairRule(different=(plate,)),
        negatives=PairRule(same=(plate,)),
    )
    assert_as_expected(by_plate, published_expected["activity_by_plate"])


@pytest.mark.usefixtures("_any_block_size")
def test_consistency_is_the_published_one(published_table, published_expected):
    wells, vectors = published_table("wells")
    perturbation, _, label = labels_of(wells)
    kept = perturbation != "NTC"
    scores = phenotypic_consistency(vectors[kept], label[kept], perturbation[kept])
    assert_as_expected(scores, published_expected["label_consistency"])


def test_the_p_value_of_a_mean_is_the_share_of_all_orders(published_table, published_expected):
    wells, vectors = published_table("wells")
    perturbation = labels_of(wells)[0]
    scores = phenotypic_activity(vectors, perturbation, perturbation == "NTC")
    table = mean_average_precision(scores, perturbation, n_draws=40_000, seed=3)
    expected = published_expected["activity_map"]
    assert set(table["group"]) == set(expected)
    value, normalised, share = np.array([expected[name] for name in table["group"]]).T
    np.testing.assert_allclose(table["value"], value, atol=1e-12)
    np.testing.assert_allclose(table["normalised"], normalised, atol=1e-12)
    np.testing.assert_array_less(np.abs(table["p_value"] - share), 4 * np.sqrt(share * (1 - share) / 40_000) + 1e-4)
    np.testing.assert_allclose(table["q_value"], stats.false_discovery_control(table["p_value"].to_numpy()))


def test_replicates_of_several_configurations_are_averaged_row_by_row():
    counts = np.array([1, 1, 2]), np.array([2, 2, 3])
    scores = AveragePrecision(np.array([0.5, 1.0, 1.0]), np.zeros(3), *counts)
    table = mean_average_precision(scores, np.zeros(3, dtype=int), n_draws=40_000)
    # rows: AP 1 or 1/2 (once for both of one configuration), and 1, 5/6 or 7/12; (2 a + b) / 3 > 5/6 by hand: 1/2
    assert table["p_value"][0] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("n_positives", "n_total"), [(1, 2), (3, 9), (2, 60), (5, 5)])
def test_random_orders_have_the_expected_mean(n_positives, n_total):
    draws = random_average_precisions(n_positives, n_total, n_draws=20_000, seed=0)
    harmonic = (1 / np.arange(1, n_total + 1)).sum()
    mean = ((n_positives - 1) / (n_total - 1) * (n_total - harmonic) + harmonic) / n_total
    assert draws.mean() == pytest.approx(mean, abs=4 * draws.std() / np.sqrt(20_000) + 1e-12)


def test_a_positive_that_ties_with_negatives_comes_first():
    profiles = np.array([[1.0, 0.0]] * 2 + [[2.0, 0.0]] * 3)
    scores = phenotypic_activity(profiles, np.array(["a", "a", "c", "c", "c"]), np.array([False] * 2 + [True] * 3))
    np.testing.assert_array_equal(scores.value, [1, 1, np.nan, np.nan, np.nan])


def test_a_profile_without_negatives_is_perfect():
    label, plate = np.array(["x", "x", "x", "y"]), np.array([1, 1, 2, 2])
    scores = average_precision(
        np.eye(4), positives=PairRule((label,)), negatives=PairRule(same=(plate,), different=(label,))
    )
    np.testing.assert_array_equal(scores.n_total, [2, 2, 3, 0])  # the first plate has no other label
    np.testing.assert_array_equal(scores.value, [1, 1, 1, np.nan])
    np.testing.assert_array_equal(scores.normalised, [0, 0, 1, np.nan])


def test_turning_stretching_and_reordering_change_no_average_precision(published_table):
    wells, vectors = published_table("wells")
    perturbation = labels_of(wells)[0]
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    order = rng.permutation(len(vectors))
    moved = (rng.uniform(0.5, 2, (len(vectors), 1)) * vectors @ turn)[order]
    before = phenotypic_activity(vectors, perturbation, perturbation == "NTC")
    after = phenotypic_activity(moved, perturbation[order], perturbation[order] == "NTC")
    np.testing.assert_allclose(before.value[order], after.value, atol=1e-12)


def test_profiles_without_replicates_are_refused():
    with pytest.raises(BenchmarkError, match="none of 3 profiles has a positive partner"):
        phenotypic_activity(np.eye(3), np.array(["a", "b", "c"]), np.array([False, False, True]))


def test_profiles_that_are_not_finite_are_refused():
    rule = PairRule((np.zeros(2),))
    with pytest.raises(BenchmarkError, match=r"profile 1 of 2 is not finite"):
        average_precision(np.array([[1.0], [np.nan]]), positives=rule, negatives=rule)


# where the reference is wrong: the worked examples of docs/published-statistics.md


def test_replicates_count_as_one_however_many_there_are():
    values = [0.75] * 17
    scores = scores_of(values, n_positives=1, n_total=2)
    table = mean_average_precision(scores, np.array([0] + [1] * 16), n_draws=40_000)
    # AP is 1 or 1/2. A mean of 0.75 over 16 independent ones is exceeded by 0.40, the null's one row by 0.5
    assert stats.binom.sf(8, 16, 0.5) == pytest.approx(0.402, abs=0.001)
    np.testing.assert_allclose(table["p_value"], 0.5, atol=0.02)
    # twelve of 16 perfect: 0.01 for independent replicates, and still 0.5
    twelve = scores_of([1.0] * 12 + [0.5] * 4, n_positives=1, n_total=2)
    assert stats.binom.sf(12, 16, 0.5) == pytest.approx(0.0106, abs=0.0001)
    p_value = mean_average_precision(twelve, np.zeros(16, dtype=int), n_draws=40_000)["p_value"][0]
    assert p_value == pytest.approx(0.5, abs=0.02)


def test_ties_with_the_null_do_not_count():
    scores = scores_of([1.0], n_positives=1, n_total=2)
    p_value = mean_average_precision(scores, np.zeros(1, dtype=int), n_draws=999)["p_value"][0]
    assert p_value == 0.001  # half of all orders of two are perfect
