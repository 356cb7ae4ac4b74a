"""A tree of merges over the rows of a map: Ward's criterion on a graph of nearest neighbours, cut where needed.

Rows are unit vectors, so Euclidean distances order pairs as their cosines do. Only neighbours are merged: no matrix of
all pairs is held. Why this method is in docs/decisions/clusters.md.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from cellassets.mapping.aggregate import group_mean

Labels = Int[np.ndarray, "row"]


@dataclass(frozen=True)
class MergeTree:
    """Merges in their order.

    Attributes:
        children: the two nodes of each merge; below `n_rows` a row, otherwise `n_rows` plus the number of a merge.
        n_rows: rows that were merged.
    """

    children: Int[np.ndarray, "merge 2"]
    n_rows: int

    def cut(self, n_clusters: int) -> Labels:
        """Returns the cluster of each row, after the merges that leave this many clusters.

        Cluster 0 is the largest; of equally large clusters the one with the first row comes first.
        """
        n_merges = self.n_rows - n_clusters
        kept = self.children[:n_merges].reshape(-1)
        parents = np.repeat(self.n_rows + np.arange(n_merges), 2)
        links = coo_array((np.ones(len(kept), dtype=bool), (kept, parents)), shape=(2 * self.n_rows, 2 * self.n_rows))
        found = connected_components(links, directed=False)[1][: self.n_rows]
        names, first, labels, sizes = np.unique(found, return_index=True, return_inverse=True, return_counts=True)
        rank = np.empty(len(names), dtype=np.int64)
        rank[np.lexsort((first, -sizes))] = np.arange(len(names))
        return rank[labels]


def merge_tree(unit: Float[np.ndarray, "row feature"], n_neighbours: int) -> MergeTree:
    """Returns the tree of merges of unit vectors.

    Args:
        unit: rows of length 1.
        n_neighbours: nearest rows that each row is linked with; only linked clusters are merged.

    Source: Ward (1963), J. Am. Stat. Assoc. 58:236, on a connectivity graph as scikit-learn has it.
    """
    from sklearn.cluster import ward_tree

    _, neighbours = nearest_rows(unit, n_neighbours)
    n_rows, n_links = neighbours.shape
    rows = np.repeat(np.arange(n_rows), n_links)
    graph = csr_array((np.ones(len(rows)), (rows, neighbours.reshape(-1))), shape=(n_rows, n_rows))
    children = ward_tree(unit, connectivity=_connected(graph.maximum(graph.T), unit))[0]
    return MergeTree(np.asarray(children, dtype=np.int64), n_rows)


def nearest_rows(
    unit: Float[np.ndarray, "row feature"], n_neighbours: int
) -> tuple[Float[np.ndarray, "row link"], Int[np.ndarray, "row link"]]:
    """Returns distances and numbers of the nearest other rows of each row, nearest first."""
    from sklearn.neighbors import NearestNeighbors

    n_links = min(n_neighbours, len(unit) - 1)
    distances, neighbours = NearestNeighbors(n_neighbors=n_links, algorithm="brute").fit(unit).kneighbors()
    return distances, neighbours


def _connected(graph: csr_array, unit: Float[np.ndarray, "row feature"]) -> csr_array:
    """The graph with links between its parts: a spanning tree over the row of each part that is nearest its mean."""
    from scipy.spatial.distance import cdist

    n_parts, part = connected_components(graph, directed=False)
    if n_parts == 1:
        return graph
    away = np.linalg.norm(unit - group_mean(unit, part, n_parts)[part], axis=1)
    order = np.lexsort((away, part))
    centres = order[np.searchsorted(part[order], np.arange(n_parts))]
    # plus 1, because scipy takes a distance of 0 for a missing link
    spanning = minimum_spanning_tree(1.0 + cdist(unit[centres], unit[centres])).tocoo()
    ends = centres[spanning.row], centres[spanning.col]
    added = csr_array((np.ones(len(ends[0])), ends), shape=graph.shape)
    return graph.maximum(added).maximum(added.T)
