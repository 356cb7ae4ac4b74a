"""The perturbations that are most similar to one, and those that are most opposite, with p-values."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from cellassets.statistics.permutation import benjamini_hochberg
from cellassets.statistics.similarity_null import similarity_p_values

NOT_ACTIVE = "it is not active, so its direction is noise"
NO_HITS = "no active perturbations are published for this map"


@dataclass(frozen=True)
class Similarities:
    """Similarity of one perturbation to every row of the map.

    Attributes:
        cosine: in [-1, 1].
        p_value: two-sided, against the map's own null distribution; NaN where it was not tested.
        q_value: that p-value corrected over the tested rows.
        nearest: rows with a similar direction, most similar first, the perturbation itself left out.
        opposite: rows with an opposite direction, most opposite first.
    """

    cosine: Float[np.ndarray, "row"]
    p_value: Float[np.ndarray, "row"]
    q_value: Float[np.ndarray, "row"]
    nearest: Int[np.ndarray, "neighbour"]
    opposite: Int[np.ndarray, "neighbour"]


def similarities(
    unit: Float32[np.ndarray, "row feature"],
    row: int,
    *,
    is_compared: Bool[np.ndarray, "row"],
    is_tested: Bool[np.ndarray, "row"],
    n_neighbours: int,
) -> Similarities:
    """Returns the similarity of one perturbation to all others.

    Args:
        unit: vectors of length 1.
        row: the perturbation.
        is_compared: rows that can be neighbours: those that are not controls.
        is_tested: rows that have a p-value if `row` has one: the active ones.
        n_neighbours: length of each list at most.
    """
    cosine = np.clip(unit @ unit[row], -1.0, 1.0).astype(np.float64)
    p_value = np.full(len(unit), np.nan)
    if is_tested[row]:
        others = is_tested.copy()
        others[row] = False
        p_value = similarity_p_values(cosine, others)
    q_value = np.full(len(unit), np.nan)
    has_p_value = np.isfinite(p_value)
    if has_p_value.any():
        q_value[has_p_value] = benjamini_hochberg(p_value[has_p_value])
    candidates = np.flatnonzero(is_compared)
    candidates = candidates[candidates != row]
    return Similarities(
        cosine,
        p_value,
        q_value,
        nearest=_first(candidates[cosine[candidates] > 0], -cosine, n_neighbours),
        opposite=_first(candidates[cosine[candidates] < 0], cosine, n_neighbours),
    )


def _first(rows: Int[np.ndarray, "row"], key: Float[np.ndarray, "all"], n: int) -> Int[np.ndarray, "first"]:
    """The n rows with the smallest keys; equal ones in the order of the map."""
    if len(rows) > n:
        rows = rows[key[rows] <= np.partition(key[rows], n - 1)[n - 1]]
    return rows[np.lexsort((rows, key[rows]))][:n]
