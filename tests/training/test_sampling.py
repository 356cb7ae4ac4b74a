import numpy as np
import pytest

from cellassets.training.sampling import Order, balanced_batches
from cellassets.training.sites import LabelledSites

LABELS = np.array([0, 1, 2, 3] * 12 + [0, 1] * 10)
EXPERIMENTS = np.array([0] * 48 + [1] * 20)


def sites() -> LabelledSites:
    scale = np.ones((len(LABELS), 2), dtype=np.float32)
    return LabelledSites(EXPERIMENTS, np.arange(len(LABELS)), LABELS, scale, scale)


def drawn(order: Order, batch_size: int = 16, seed: int = 0) -> np.ndarray:
    found = order.batches(sites(), batch_size, np.random.default_rng(seed))
    assert len(found) == order.n_batches(sites(), batch_size)
    return found


def test_uniform_batches_hold_every_site_once_before_any_twice():
    found = drawn(Order("uniform")).ravel()
    assert sorted(found[: len(LABELS)]) == list(range(len(LABELS)))
    assert len(found) == 80, "68 sites, rounded up to 5 full batches"


def test_uniform_batches_leave_classes_as_frequent_as_they_are():
    counts = np.bincount(LABELS[drawn(Order("uniform")).ravel()[: len(LABELS)]])
    assert counts.tolist() == np.bincount(LABELS).tolist()


def test_a_batch_of_one_experiment_has_no_site_of_another_one():
    found = drawn(Order("one_experiment"))
    of_batches = EXPERIMENTS[found]
    assert (of_batches == of_batches[:, :1]).all()
    assert np.bincount(of_batches[:, 0]).tolist() == [3, 2], "48 and 20 sites, each rounded up to batches of 16"
    assert of_batches[:, 0].tolist() not in ([0, 0, 0, 1, 1], [1, 1, 0, 0, 0]), "the experiments come in random order"
    assert (np.bincount(LABELS[found[of_batches[:, 0] == 1]].ravel()) == 16).all(), "classes are balanced in each"


def test_equal_experiments_give_every_batch_the_same_share_of_each():
    found = drawn(Order("equal_experiments"))
    assert [np.bincount(EXPERIMENTS[batch]).tolist() for batch in found] == [[8, 8]] * 5
    of_second = LABELS[found[EXPERIMENTS[found] == 1]]
    assert np.bincount(of_second).tolist() == [20, 20]


def test_sites_of_one_class_follow_each_other():
    found = drawn(Order("class_balanced", n_sites_per_class=4))
    groups = LABELS[found].reshape(-1, 4)
    assert (groups == groups[:, :1]).all()
    assert len(set(found[0])) == 16, "they are different sites"


@pytest.mark.parametrize("sampling", ["class_balanced", "uniform", "one_experiment", "equal_experiments"])
def test_the_batches_depend_only_on_the_generator(sampling):
    order = Order(sampling)
    np.testing.assert_array_equal(drawn(order, seed=3), drawn(order, seed=3))
    assert not np.array_equal(drawn(order, seed=3), drawn(order, seed=4))


def test_the_default_is_what_was_drawn_before_there_was_a_choice():
    expected = balanced_batches(LABELS, 16, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn(Order()), expected)
