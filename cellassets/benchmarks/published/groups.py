"""Iteration over the pairs of grouped rows in blocks, so that no matrix of wells x wells is held in memory.

The calling modules define which pairs count and what is computed from them.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from jaxtyping import Float, Int, Shaped

from cellassets.errors import BenchmarkError
from cellassets.finite import finite_arguments, require_finite

Rows = Int[np.ndarray, "..."]
BLOCK_VALUES = 1 << 19  # pairs held at once: 4 MiB in double precision, no more than the references hold
CACHED_VALUES = 1 << 18  # 2 MiB stay in a processor's cache
GROUP_ROWS = 512  # small groups are taken together up to this many rows


def named_codes(labels: Shaped[np.ndarray, "row"]) -> tuple[Shaped[np.ndarray, "name"], Int[np.ndarray, "row"]]:
    """Returns the distinct labels, sorted, and the place of each row's label among them.

    The result is that of `numpy.unique`, which takes ten times as long for text.

    Args:
        labels: names or numbers.
    """
    if labels.dtype.kind not in "UO":
        names, codes = np.unique(labels, return_inverse=True)
        return names, codes
    listed = pl.Series(labels)
    different = listed.unique().sort()
    place = listed.replace_strict(different, np.arange(len(different)), return_dtype=pl.Int64)
    return different.to_numpy().astype(labels.dtype), place.to_numpy()


def combined_codes(*columns: Shaped[np.ndarray, "row"]) -> Int[np.ndarray, "row"]:
    """Returns one number per row, equal where all columns are equal.

    Args:
        columns: names or numbers, at least one column.
    """
    combined = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        values, codes = named_codes(column)
        combined = np.unique(combined * len(values) + codes, return_inverse=True)[1]
    return combined


def grouped_blocks(query: Int[np.ndarray, "query"], partner: Int[np.ndarray, "partner"]) -> Iterator[tuple[Rows, Rows]]:
    """Yields (queries, partners), places in both arguments; every query meets all partners of its group once.

    Small groups are put together, so a block also holds pairs across groups. Large groups are split into several blocks
    of at most `BLOCK_VALUES` pairs or one query.

    Args:
        query: group of each query, from 0.
        partner: group of each partner.
    """
    n_groups = int(max(query.max(initial=-1), partner.max(initial=-1))) + 1
    chunk = (np.cumsum(np.bincount(partner, minlength=n_groups)) - 1) // GROUP_ROWS
    by_query, by_partner = np.argsort(query, kind="stable"), np.argsort(partner, kind="stable")
    query_chunk, partner_chunk = chunk[query[by_query]], chunk[partner[by_partner]]
    for number in np.unique(query_chunk):
        first, last = np.searchsorted(query_chunk, [number, number + 1])
        partners = by_partner[slice(*np.searchsorted(partner_chunk, [number, number + 1]))]
        n_queries = max(1, BLOCK_VALUES // max(len(partners), 1))
        for start in range(first, last, n_queries):
            yield by_query[start : min(start + n_queries, last)], partners


@finite_arguments(BenchmarkError)
def cosines_to_all(
    unit: Float[np.ndarray, "row feature"], groups: Sequence[Int[np.ndarray, "_"]]
) -> Iterator[Float[np.ndarray, "_ row"]]:
    """Yields the cosines of each group's rows to all rows, group by group.

    Many small groups are computed in one matrix product, because threads would wait for each other in small ones.

    Args:
        unit: rows of length 1.
        groups: places of the rows of each group.
    """
    ends = np.cumsum([len(rows) for rows in groups], dtype=np.int64)
    n_values = max(1, min(BLOCK_VALUES // 4, len(unit) ** 2 // 16))  # few beside the rows, also in small maps
    chunk = ends * len(unit) // n_values
    for number in np.unique(chunk):
        together = [rows for rows, its_chunk in zip(groups, chunk, strict=True) if its_chunk == number]
        needed, place = np.unique(np.concatenate(together), return_inverse=True)  # a row may be in several groups
        cosines = unit[needed] @ unit.T
        for rows in np.split(place, np.cumsum([len(rows) for rows in together])[:-1]):
            yield cosines[rows]
        del cosines  # or the next ones are made beside them


def group_sums(
    values: Float[np.ndarray, "row feature"], group: Int[np.ndarray, "row"], n_groups: int
) -> tuple[Float[np.ndarray, "group feature"], Float[np.ndarray, "group"]]:
    """Returns each group's sum of rows scaled to length 1, and its number of rows that are not 0.

    Args:
        values: one vector per row.
        group: group of each row, from 0 on.
        n_groups: number of groups.

    Raises:
        BenchmarkError: a row is not finite.
    """
    sums, lengths = np.zeros((n_groups, values.shape[1])), np.zeros(n_groups)
    order = np.argsort(group, kind="stable")
    n_rows = min(GROUP_ROWS, max(1, CACHED_VALUES // values.shape[1]))
    for start in range(0, len(order), n_rows):
        rows = order[start : start + n_rows]
        block, of_rows = values[rows].astype(np.float64, copy=False), group[rows]
        norms = np.sqrt(np.einsum("rf,rf->r", block, block))
        require_finite("group_sums", norms, names=rows, kind="the row", error=BenchmarkError)
        weights = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        present = of_rows[np.flatnonzero(np.diff(of_rows, prepend=-1))]
        sums[present] += np.where(of_rows == present[:, None], weights, 0.0) @ block
        lengths += np.bincount(of_rows, norms > 0, n_groups)
    return sums, lengths
