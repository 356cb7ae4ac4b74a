"""One-to-one assignment: each class once, best in sum, for any numbers of wells and classes."""

from itertools import permutations

import numpy as np
import pytest

from cellassets.statistics.one_to_one import NOT_ASSIGNED, one_to_one


def best_by_trying_all(scores: np.ndarray) -> float:
    n_wells, n_classes = scores.shape
    return max(scores[range(n_wells), list(order)].sum() for order in permutations(range(n_classes), n_wells))


def test_perfect_scores_give_the_identity():
    np.testing.assert_array_equal(one_to_one(np.eye(6)), np.arange(6))


@pytest.mark.parametrize("n_wells", [3, 5])
def test_the_sum_is_the_best_of_all_assignments_and_no_class_is_there_twice(n_wells):
    scores = np.random.default_rng(n_wells).standard_normal((n_wells, 5))
    found = one_to_one(scores)
    assert len(set(found.tolist())) == n_wells
    assert scores[np.arange(n_wells), found].sum() == pytest.approx(best_by_trying_all(scores), abs=1e-12)


def test_a_constant_that_is_added_to_the_scores_of_a_well_changes_nothing():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((4, 7))
    np.testing.assert_array_equal(one_to_one(scores), one_to_one(scores + 50 * rng.standard_normal((4, 1))))


def test_wells_are_left_over_if_there_are_more_of_them_than_classes():
    scores = np.array([[0.9, 0.0], [0.8, 0.1], [0.0, 0.7]])
    np.testing.assert_array_equal(one_to_one(scores), [0, NOT_ASSIGNED, 1])


def test_a_well_gives_up_its_best_class_where_another_well_needs_it_more():
    np.testing.assert_array_equal(one_to_one(np.array([[0.9, 0.8], [0.7, 0.0]])), [1, 0])
