"""Average precision of retrieval, for many assignments of labels to the same wells at once.

Pure functions of ranks: how far down the list of one well each other well is. Which places are positives of each other
is fixed; a permutation puts other wells (or perturbations) into the places. The benchmarks `phenotypic_activity` and
`phenotypic_consistency` define what is compared and how labels are permuted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from cellassets.errors import StatisticsError
from cellassets.finite import finite_arguments
from cellassets.statistics.permutation import blocks

Ranks = Shaped[np.ndarray, "well other"]  # the smallest integer type that fits
Placed = Int[np.ndarray, "draw place"]  # the well at each place
Listed = Shaped[np.ndarray, "draw query partner"]  # ranks of partners
Flags = Bool[np.ndarray, "query partner"]
ROWS_AT_ONCE = 512  # of the matrix of cosines; fixed, so that results do not depend on the memory used


@finite_arguments(StatisticsError)
def ranks_of_others(unit: Float[np.ndarray, "well feature"]) -> Ranks:
    """Returns, for each row, how many other rows have a larger cosine to it than each column; the row itself is last.

    Equal cosines keep the order of the rows. Shuffle the rows before, where that order may favour a label.

    Args:
        unit: rows of length 1.
    """
    n_rows = len(unit)
    ranks = np.empty((n_rows, n_rows), dtype=np.int16 if n_rows < 1 << 14 else np.int32)
    places = np.arange(n_rows, dtype=ranks.dtype)[None]
    wells = unit.astype(np.float32)
    for start in range(0, n_rows, ROWS_AT_ONCE):
        distances = -(wells[start : start + ROWS_AT_ONCE] @ wells.T)
        distances[np.arange(len(distances)), start + np.arange(len(distances))] = np.inf
        order = np.argsort(distances, axis=1, kind="stable")
        np.put_along_axis(ranks[start : start + ROWS_AT_ONCE], order, places, axis=1)
    return ranks


@dataclass(frozen=True)
class Queries:
    """Queries with equally many partners, and equally many positives among them.

    Attributes:
        number: number of each query, from 0 among all queries of a benchmark.
        asking: the querying place.
        partner: the places listed for each query: its positives and, where all others are negatives, those that are
            neither; otherwise its positives and its negatives.
        is_positive: which partners are positives; at least one of each query.
    """

    number: Int[np.ndarray, "query"]
    asking: Int[np.ndarray, "query"]
    partner: Int[np.ndarray, "query partner"]
    is_positive: Bool[np.ndarray, "query partner"]


def grouped_queries(
    asking: Sequence[int], partners: Sequence[Int[np.ndarray, "..."]], is_positive: Sequence[np.ndarray]
) -> list[Queries]:
    """Returns the queries, grouped by their numbers of partners and positives; queries without a positive are left out.

    Args:
        asking: the place of each query.
        partners: the places that each query lists.
        is_positive: which of them are positives.
    """
    places = np.asarray(asking, dtype=np.int64)
    shape = np.array([(len(chosen), chosen.sum()) for chosen in is_positive], dtype=np.int64).reshape(-1, 2)
    return [
        Queries(
            chosen,
            places[chosen],
            np.stack([partners[number] for number in chosen.tolist()]),
            np.stack([is_positive[number] for number in chosen.tolist()]),
        )
        for chosen in (
            np.flatnonzero((shape == wanted).all(axis=1)) for wanted in np.unique(shape, axis=0) if wanted[1]
        )
    ]


def average_precisions(
    queries: Queries, ranks: Ranks, placed: Placed, *, are_others_negatives: bool
) -> Float[np.ndarray, "draw query"]:
    """Returns the average precision of each query under each assignment of wells to places.

    Args:
        queries: querying and listed places.
        ranks: rank of every well in the list of every other well.
        placed: the well at each place, one row per draw.
        are_others_negatives: true: every well of `ranks` that is not a partner is a negative (ranks among all wells are
            known, so only the partners are sorted). False: the partners that are not positives are the negatives.
    """
    judge = _against_all_others if are_others_negatives else _against_listed
    found, start = np.empty((len(placed), len(queries.asking))), 0
    flat = ranks.reshape(-1)
    for n_draws in blocks(len(placed), max(queries.partner.size, 1)):
        wells = placed[start : start + n_draws].astype(np.int64)
        index = wells[:, queries.asking, None] * ranks.shape[1] + wells[:, queries.partner]
        found[start : start + n_draws] = judge(flat.take(index), queries.is_positive)
        start += n_draws
    return found


def _against_all_others(listed: Listed, is_positive: Flags) -> Float[np.ndarray, "draw query"]:
    if is_positive.all():
        listed.sort(axis=2)
        n_found = np.arange(1, listed.shape[2] + 1, dtype=np.float32)
        return (n_found / (listed + np.float32(1))).mean(axis=2, dtype=np.float64)
    keys, place = _sorted_positives(listed, is_positive)
    n_negatives = (np.take_along_axis(keys, place, axis=2) >> 1) - place
    n_found = np.arange(1, place.shape[2] + 1)
    return (n_found / (n_found + n_negatives)).mean(axis=2)


def _against_listed(listed: Listed, is_positive: Flags) -> Float[np.ndarray, "draw query"]:
    _, place = _sorted_positives(listed, is_positive)
    n_found = np.arange(1, place.shape[2] + 1)
    return (n_found / (place + 1)).mean(axis=2)


def _sorted_positives(listed: Listed, is_positive: Flags) -> tuple[Listed, Int[np.ndarray, "draw query positive"]]:
    """Partners by rank, with the lowest bit set for those that are not positives, and the places of the positives."""
    keys = listed * 2 + ~is_positive  # ranks_of_others leaves one bit free
    keys.sort(axis=2)
    place = np.flatnonzero(keys & 1 == 0) % keys.shape[2]
    return keys, place.reshape(*keys.shape[:2], -1)


def expected_average_precision(
    n_positives: Int[np.ndarray, "query"], n_negatives: Int[np.ndarray, "query"]
) -> Float[np.ndarray, "query"]:
    """Returns the expected average precision of a list in random order.

    Source: Bestgen (2015), Prague Bull. Math. Linguist. 103:131: ((M - 1) / (L - 1) (L - H_L) + H_L) / L with M
    positives among L and the L-th harmonic number H_L; copairs normalises by it.
    """
    from scipy.special import digamma

    n_listed = n_positives + n_negatives
    harmonic = digamma(n_listed + 1) + np.euler_gamma
    share = (n_positives - 1) / np.maximum(n_listed - 1, 1)
    return (share * (n_listed - harmonic) + harmonic) / n_listed
