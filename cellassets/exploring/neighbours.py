"""The perturbations that are most similar to one, and those that are most opposite, with p-values."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from cellassets.statistics.similarity_null import similarity_p_values, similarity_q_values, why_no_null

NOT_ACTIVE = "it is not active, so its direction is noise"
NO_HITS = "no active perturbation of this map is published"


@dataclass(frozen=True)
class Similarities:
    """Similarity of one perturbation to every row of the map.

    Attributes:
        cosine: in [-1, 1].
        p_value: two-sided, against the map's own null distribution; NaN where it was not tested.
        q_value: that p-value corrected over the tested rows.
        nearest: rows with a similar direction, most similar first, the perturbation itself left out.
        opposite: rows with an opposite direction, most opposite first.
        why_not_tested: why there is no p-value at all; None where there are some.
    """

    cosine: Float[np.ndarray, "row"]
    p_value: Float[np.ndarray, "row"]
    q_value: Float[np.ndarray, "row"]
    nearest: Int[np.ndarray, "_"]
    opposite: Int[np.ndarray, "_"]
    why_not_tested: str | None


def similarities(
    cosine: Float[np.ndarray, "row"],
    row: int,
    *,
    is_compared: Bool[np.ndarray, "row"],
    is_tested: Bool[np.ndarray, "row"],
    n_neighbours: int,
) -> Similarities:
    """Returns the similarity of one perturbation to all others.

    Args:
        cosine: of the perturbation to every row.
        row: the perturbation.
        is_compared: rows that can be neighbours: those that are not controls.
        is_tested: rows that have a p-value if `row` has one: the active ones.
        n_neighbours: length of each list at most.
    """
    others = is_tested & (np.arange(len(cosine)) != row) & is_tested[row]
    reason = (why_no_null(cosine, others) if is_tested[row] else NOT_ACTIVE) if is_tested.any() else NO_HITS
    p_value = similarity_p_values(cosine, others)
    candidates = np.flatnonzero(is_compared)
    candidates = candidates[candidates != row]
    return Similarities(
        cosine,
        p_value,
        similarity_q_values(p_value),
        nearest=_first(candidates[cosine[candidates] > 0], -cosine, n_neighbours),
        opposite=_first(candidates[cosine[candidates] < 0], cosine, n_neighbours),
        why_not_tested=reason,
    )


def _first(rows: Int[np.ndarray, "row"], key: Float[np.ndarray, "all"], n: int) -> Int[np.ndarray, "first"]:
    """The n rows with the smallest keys; equal ones in the order of the map."""
    if len(rows) > n:
        rows = rows[key[rows] <= np.partition(key[rows], n - 1)[n - 1]]
    return rows[np.lexsort((rows, key[rows]))][:n]
