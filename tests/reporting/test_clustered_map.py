"""The map is shown in clustered order, and what is known to belong together is one group."""

import numpy as np
import polars as pl

from cellassets.reporting.clustered_map import clustered_map, known_groups


def test_groups_are_what_pairs_connect_largest_first():
    pairs = pl.DataFrame({"entity1": ["A", "B", "X"], "entity2": ["B", "C", "Y"]})
    assert known_groups(pairs) == {"A": 0, "B": 0, "C": 0, "X": 1, "Y": 1}
    assert known_groups(None) == {}


def test_planted_groups_lie_together_in_the_clustered_map(report_page):
    dataset = report_page.datasets[0]
    clustered = clustered_map(dataset.map_table, dataset.known_pairs["planted"])
    places = {}
    for place, group in enumerate(clustered.groups):
        places.setdefault(group, []).append(place)
    together = [max(p) - min(p) == len(p) - 1 for group, p in places.items() if group is not None]
    assert sum(together) >= 5
    np.testing.assert_allclose(np.diag(clustered.cosines), 1, atol=1e-6)
