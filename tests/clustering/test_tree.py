"""The tree of merges: against scipy's, on groups that are far apart, and cut at several numbers of clusters."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from cellassets.clustering.tree import merge_tree, nearest_rows
from cellassets.mapping.relate import unit_rows


def groups_of_ten(n_groups, spread, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.repeat(np.eye(n_groups, 12), 10, axis=0)
    return unit_rows(centres + spread * rng.standard_normal(centres.shape)), np.repeat(np.arange(n_groups), 10)


@pytest.mark.parametrize("n_clusters", [2, 3, 7, 20])
def test_with_all_links_it_is_scipys_ward(n_clusters):
    unit = unit_rows(np.random.default_rng(1).standard_normal((60, 8)))
    expected = fcluster(linkage(unit, "ward"), n_clusters, "maxclust")
    assert adjusted_rand_score(expected, merge_tree(unit, 59).cut(n_clusters)) == 1.0


def test_groups_without_a_link_between_them_are_found_and_joined():
    """Three nearest neighbours are all of a row's own group, so the graph falls into parts."""
    unit, group = groups_of_ten(4, 0.01)
    tree = merge_tree(unit, 3)
    assert adjusted_rand_score(group, tree.cut(4)) == 1.0
    assert set(tree.cut(1)) == {0}
    assert len(set(tree.cut(40))) == 40


def test_coarse_clusters_are_made_of_whole_fine_ones():
    tree = merge_tree(unit_rows(np.random.default_rng(2).standard_normal((80, 6))), 10)
    fine, coarse = tree.cut(16), tree.cut(4)
    assert all(len(set(coarse[fine == cluster])) == 1 for cluster in range(16))


def test_clusters_are_numbered_by_size_and_then_by_their_first_row():
    labels = merge_tree(groups_of_ten(3, 0.01)[0][:25], 4).cut(3)
    assert labels.tolist() == [0] * 10 + [1] * 10 + [2] * 5


def test_nearest_rows_leave_out_the_row_itself():
    unit = unit_rows(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]))
    distances, neighbours = nearest_rows(unit, 1)
    assert neighbours[:, 0].tolist() == [1, 0, 1]
    assert distances[0, 0] == pytest.approx(np.linalg.norm(unit[0] - unit[1]))
