"""Stability: are the same clusters found when the wells of every perturbation are resampled?

Hennig's clusterwise Jaccard similarity and the adjusted Rand index of a whole clustering, each beside its null
distribution: the same of maps whose wells were shuffled within plates. Resampled wells share noise with the map, so
clusters of noise are found again more often than by chance alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from cellassets.clustering.resampling import ReplicateWells
from cellassets.progress import Progress, no_progress

Labels = Int[np.ndarray, "row"]
Cut = Callable[[Float[np.ndarray, "row feature"]], Mapping[int, Labels]]
MIN_LIKE_SIZED = 40


@dataclass(frozen=True)
class Stability:
    """The stability of the clusters of one resolution.

    Attributes:
        jaccard: by cluster, the mean over resamples of the Jaccard similarity to the most similar cluster.
        null_mean: by cluster, its mean over clusters of about the same size in maps of shuffled wells.
        null_high: by cluster, the 97.5th percentile of the same.
        adjusted_rand: mean adjusted Rand index of the clusters and those of resampled wells.
        null_adjusted_rand: its mean over maps of shuffled wells.
        p_value: share of maps of shuffled wells with an adjusted Rand index at least as large, by the +1 rule.
    """

    jaccard: Float[np.ndarray, "cluster"]
    null_mean: Float[np.ndarray, "cluster"]
    null_high: Float[np.ndarray, "cluster"]
    adjusted_rand: float
    null_adjusted_rand: float
    p_value: float


@dataclass
class _Drawn:
    """What was found in the draws so far: of the map itself, and of maps of shuffled wells."""

    jaccard: list[Float[np.ndarray, "cluster"]] = field(default_factory=list)
    rand: list[float] = field(default_factory=list)
    null_jaccard: list[Float[np.ndarray, "cluster"]] = field(default_factory=list)
    null_sizes: list[Int[np.ndarray, "cluster"]] = field(default_factory=list)
    null_rand: list[float] = field(default_factory=list)


def cluster_stability(
    clusters: Mapping[int, Labels],
    wells: ReplicateWells,
    cut: Cut,
    *,
    n_resamples: int,
    seed: int,
    progress: Progress = no_progress,
) -> dict[int, Stability]:
    """Returns the stability of the clusters of each resolution.

    Args:
        clusters: labels by resolution.
        wells: the wells that the map was made of.
        cut: clusters a map in the same way.
        n_resamples: number of maps of resampled wells, and of maps of shuffled wells.
        seed: of the resampling and shuffling.
        progress: told after every draw.

    Source: Hennig (2007), Comput. Stat. Data Anal. 52:258; Hubert and Arabie (1985), J. Classif. 2:193.
    """
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng(seed)
    drawn = {resolution: _Drawn() for resolution in clusters}
    for number in range(n_resamples):
        again = cut(wells.map_of(wells.resampled(wells.all(), rng)))
        shuffled = wells.shuffled(rng)
        null, null_again = cut(wells.map_of(shuffled)), cut(wells.map_of(wells.resampled(shuffled, rng)))
        for resolution, found in drawn.items():
            found.jaccard.append(best_jaccard(clusters[resolution], again[resolution]))
            found.rand.append(float(adjusted_rand_score(clusters[resolution], again[resolution])))
            found.null_jaccard.append(best_jaccard(null[resolution], null_again[resolution]))
            found.null_sizes.append(np.bincount(null[resolution]))
            found.null_rand.append(float(adjusted_rand_score(null[resolution], null_again[resolution])))
        progress(number + 1, n_resamples, "maps of resampled wells clustered")
    return {resolution: _stability(np.bincount(clusters[resolution]), found) for resolution, found in drawn.items()}


def best_jaccard(clusters: Labels, others: Labels) -> Float[np.ndarray, "cluster"]:
    """Returns for each cluster the largest Jaccard similarity to one of the other clusters.

    Args:
        clusters: cluster of each row, from 0; every number occurs.
        others: cluster of each row in the other clustering.
    """
    n_own, n_other = np.bincount(clusters), np.bincount(others)
    pairs, n_shared = np.unique(clusters * len(n_other) + others, return_counts=True)
    own, other = np.divmod(pairs, len(n_other))
    best = np.zeros(len(n_own))
    np.maximum.at(best, own, n_shared / (n_own[own] + n_other[other] - n_shared))
    return best


def _stability(sizes: Int[np.ndarray, "cluster"], drawn: _Drawn) -> Stability:
    null, null_sizes = np.concatenate(drawn.null_jaccard), np.concatenate(drawn.null_sizes)
    like_sized = {int(size): null[_nearest_sizes(null_sizes, int(size))] for size in np.unique(sizes)}
    rand = float(np.mean(drawn.rand))
    n_as_large = sum(value >= rand for value in drawn.null_rand)
    return Stability(
        jaccard=np.mean(drawn.jaccard, axis=0),
        null_mean=np.array([like_sized[int(size)].mean() for size in sizes]),
        null_high=np.array([np.quantile(like_sized[int(size)], 0.975) for size in sizes]),
        adjusted_rand=rand,
        null_adjusted_rand=float(np.mean(drawn.null_rand)),
        p_value=(1 + n_as_large) / (1 + len(drawn.null_rand)),
    )


def _nearest_sizes(sizes: Int[np.ndarray, "cluster"], size: int) -> Int[np.ndarray, "like"]:
    """The clusters whose sizes are nearest by ratio: a tenth of all, but at least 40."""
    return np.argsort(np.abs(np.log(sizes / size)), kind="stable")[: max(MIN_LIKE_SIZED, len(sizes) // 10)]
