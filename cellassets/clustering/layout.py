"""A map in two dimensions, for people to look at: t-SNE of the unit vectors, on exact nearest neighbours.

Near perturbations stay near. Distances between groups, sizes of groups and empty space mean nothing in such a picture;
questions about similarity are answered from the vectors themselves. One seed and one thread: the same map has the same
layout.
"""

import numpy as np
from jaxtyping import Float, Float32

from cellassets.clustering.tree import nearest_rows
from cellassets.progress import Progress, no_progress

PERPLEXITY = 30.0  # a soft number of neighbours; Source: van der Maaten and Hinton (2008), JMLR 9:2579
NEIGHBOURS_PER_PERPLEXITY = 3
EARLY_EXAGGERATION, N_EARLY, N_LATE = 12.0, 250, 500  # Source: Belkina et al. (2019), Nat. Commun. 10:5415
MIN_FOR_GRID = 10_000  # rows from which interpolation on a grid is faster than a tree, as openTSNE has it
ROUND = 50  # iterations between two reports of progress


def map_layout(
    unit: Float[np.ndarray, "row feature"], *, seed: int = 0, progress: Progress = no_progress
) -> Float32[np.ndarray, "row 2"]:
    """Returns a place in the plane for each row, centred, with a standard deviation of 1 along the longer axis.

    Args:
        unit: vectors of length 1, at least four.
        seed: of the first places, where principal components do not determine them.
        progress: told after every 50 of 750 steps.
    """
    from openTSNE import TSNEEmbedding, initialization
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    perplexity = min(PERPLEXITY, (len(unit) - 1) / NEIGHBOURS_PER_PERPLEXITY)
    distances, neighbours = nearest_rows(unit, int(NEIGHBOURS_PER_PERPLEXITY * perplexity))
    affinities = PerplexityBasedNN(perplexity=perplexity, knn_index=PrecomputedNeighbors(neighbours, distances))
    first = initialization.pca(unit, random_state=seed)
    method = "fft" if len(unit) >= MIN_FOR_GRID else "bh"
    places = TSNEEmbedding(first, affinities, n_jobs=1, random_state=seed, negative_gradient_method=method)
    for done in range(0, N_EARLY + N_LATE, ROUND):
        is_early = done < N_EARLY
        places.optimize(
            ROUND,
            exaggeration=EARLY_EXAGGERATION if is_early else None,
            momentum=0.5 if is_early else 0.8,
            inplace=True,
        )
        progress(done + ROUND, N_EARLY + N_LATE, "layout")
    found = np.asarray(places, dtype=np.float64)
    centred = found - found.mean(axis=0)
    return (centred / centred.std(axis=0).max()).astype(np.float32)
