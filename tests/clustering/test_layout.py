"""The map in the plane: groups stay together, and one map has one layout."""

import numpy as np
import pytest

from cellassets.clustering.layout import map_layout
from cellassets.mapping.relate import unit_rows


def grouped(n_groups, n_members, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(n_groups, 24)), n_members, axis=0)
    return unit_rows(3 * centres + rng.normal(size=centres.shape)), np.repeat(np.arange(n_groups), n_members)


def test_neighbours_in_the_plane_are_of_the_same_group():
    unit, group = grouped(n_groups=8, n_members=12)
    places = map_layout(unit)
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (group[distances.argmin(axis=1)] == group).mean() > 0.95


def test_one_map_has_one_layout_in_units_of_its_longer_axis():
    unit, _ = grouped(n_groups=3, n_members=7)
    places = map_layout(unit)
    assert np.array_equal(places, map_layout(unit))
    assert places.mean(axis=0) == pytest.approx([0, 0], abs=1e-5)
    assert places.std(axis=0).max() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("n_rows", [4, 5, 11])
def test_a_map_of_few_perturbations_has_a_layout(n_rows):
    places = map_layout(grouped(n_groups=1, n_members=n_rows)[0])
    assert places.shape == (n_rows, 2)
    assert np.isfinite(places).all()
