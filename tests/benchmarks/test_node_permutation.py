"""Names that change places within strata of plates, and what is looked up under them."""

import numpy as np

from cellassets.statistics import permutation as statistics
from cellassets.statistics.node_permutation import node_permutations, permuted_lookups


def test_permuted_lookups_are_those_of_the_whole_table(monkeypatch):
    rng = np.random.default_rng(3)
    table = rng.random((7, 8))
    table[:, 7] = 0.0
    permutations = node_permutations(np.array([0, 0, 0, 0, 1, 1, 1]), 5, rng)
    units, columns = np.array([1, 4, 6]), np.array([[0, 2], [5, 7], [3, 1]])
    monkeypatch.setattr(statistics, "BLOCK_VALUES", 15)
    found = np.zeros((6, 3, 2))
    for draw, here, values in permuted_lookups(lambda a, b: table[a:b], columns, permutations, units):
        found[draw, here] = values
    for draw, permutation in enumerate(permutations):
        moved = [*permutation, 7]
        for number, unit in enumerate(units):
            assert found[draw, number].tolist() == [table[permutation[unit], moved[c]] for c in columns[number]]
    assert (permutations[:, :4] < 4).all()
    assert permutations[0].tolist() == list(range(7))
