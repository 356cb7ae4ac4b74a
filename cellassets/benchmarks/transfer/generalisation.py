"""Generalisation over cell types: does a perturbation have the same neighbours in two maps?"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from pydantic import Field

from cellassets.benchmarks.definition import NameParameters, Row
from cellassets.benchmarks.judged import JudgedMap
from cellassets.benchmarks.rows import influences_of, summary_score, unit_scores
from cellassets.benchmarks.strata import check_exchange, plate_strata
from cellassets.benchmarks.ties import with_finer_p_values
from cellassets.errors import NotApplicable
from cellassets.mapping.relate import COSINE_ROUNDING, unit_rows
from cellassets.statistics.neighbour_sharing import jaccard_index, partner_shares
from cellassets.statistics.node_permutation import Permutations, node_permutations, permuted_lookups
from cellassets.statistics.permutation import blocks, mean_over_nodes
from cellassets.statistics.rank_overlap import overlap_depth, overlap_weights
from cellassets.tables.parquet import vectors

Neighbours = Int[np.ndarray, "query neighbour"]
TIE_BREAK = 1e-3  # times an overlap: always less than one neighbour


class GeneralisationParameters(NameParameters):
    """How many neighbours are compared.

    `persistence` is the parameter p of the rank-biased overlap: 0.9 puts 86% of the weight on the first ten ranks.
    """

    n_neighbours: int = Field(default=5, ge=1, description="Neighbours that are compared")
    persistence: float = Field(
        default=0.9,
        gt=0,
        lt=1,
        description="p of the rank-biased overlap; 0.9 puts 86% of the weight on the first ten ranks",
    )


def cell_type_generalisation(judged: JudgedMap, parameters: GeneralisationParameters) -> list[Row]:
    """Returns how many neighbours of a perturbation are its neighbours in the model's other maps too.

    Neighbours are searched among the perturbations that both maps have. The value of a perturbation is the mean over
    the other maps that have it. In the null distribution perturbations that share plates in this map exchange names in
    the other map (which plates they share there is not known here). Ties of equally many kept neighbours are broken by
    the rank-biased overlap, because p-values would otherwise be coarse.

    Of equally near neighbours all have the last rank of the tie: one counts only if at most k perturbations are as near
    as it is. A map of equal vectors keeps no neighbour, because only the order of the names would distinguish them.

    A map with fewer than 2 k + 2 common perturbations is left out. k is never reduced: another k would be another
    scale, and among so few perturbations nearly any k are neighbours.

    Raises:
        NotApplicable: no other map of this model has that many perturbations in common with this one.

    Source: rank-biased overlap of Webber, Moffat and Zobel (2010), ACM Trans. Inf. Syst. 28:20; the null distribution
    is the permutation of nodes of Hubert (1987), Assignment Methods in Combinatorial Data Analysis.
    """
    own = _treated(judged.map_table)
    n_least = 2 * parameters.n_neighbours + 2
    shared = {
        name: own.join(_treated(table), on="perturbation_id", suffix="_there", maintain_order="left")
        for name, table in sorted(judged.other_maps.items())
    }
    kept = [table for table in shared.values() if table.height >= n_least]
    if not kept:
        found = ", ".join(f"{name} {table.height}" for name, table in shared.items()) or "there is none"
        message = (
            f"cell_type_generalisation: no other map of this model has {n_least} perturbations in common with this "
            f"one ({found})"
        )
        raise NotApplicable(message)
    names = sorted(set().union(*(table["perturbation_id"].to_list() for table in kept)))
    jaccard, overlap, shares = _draws(judged, names, kept, parameters)
    nodes = np.arange(len(names))[:, None]
    influences = (shares - shares.mean()) / len(names)
    mean = mean_over_nodes(jaccard[0], nodes, influences=influences)
    n_wells = own.filter(pl.col("perturbation_id").is_in(names))["n_wells"].cast(pl.Int64).to_numpy()
    units = unit_scores("neighbours_kept", names, jaccard, n_wells=n_wells, end=1.0)
    return [
        summary_score("neighbours_kept", mean, jaccard, within=(0.0, 1.0)),
        summary_score("rank_biased_overlap", mean_over_nodes(overlap[0], nodes), overlap, within=(0.0, 1.0)),
        *with_finer_p_values(units, jaccard + TIE_BREAK / parameters.n_neighbours * overlap),
        *unit_scores("rank_biased_overlap", names, overlap, n_wells=n_wells, end=1.0),
        *influences_of("neighbours_kept", names, influences),
    ]


def _treated(table: pl.DataFrame) -> pl.DataFrame:
    columns = ("perturbation_id", "n_wells", "embedding")
    return table.filter(pl.col("control_kind").is_null()).select(columns).sort("perturbation_id")


def _draws(
    judged: JudgedMap, names: Sequence[str], kept: Sequence[pl.DataFrame], parameters: GeneralisationParameters
) -> tuple[Float[np.ndarray, "draw unit"], Float[np.ndarray, "draw unit"], Float[np.ndarray, "unit"]]:
    """Jaccard index and overlap of each perturbation, means over the other maps, as observed in row 0.

    Also the contribution of each perturbation to the Jaccard indices of the others.
    """
    rng = np.random.default_rng(parameters.seed)
    shape = 1 + parameters.n_permutations, len(names)
    jaccard, overlap, shares = np.zeros(shape), np.zeros(shape), np.zeros(len(names))
    places = [np.searchsorted(np.array(names), table["perturbation_id"].to_numpy()) for table in kept]
    n_maps = np.bincount(np.concatenate(places), minlength=len(names))
    for table, place in zip(kept, places, strict=True):
        stratum = plate_strata(judged, table["perturbation_id"].to_list(), parameters)
        check_exchange("cell_type_generalisation", stratum, what="perturbations")
        permutations = node_permutations(stratum, parameters.n_permutations, rng)
        unit, other = unit_rows(vectors(table)), unit_rows(vectors(table, "embedding_there"))
        for draw, rows, n_kept, weight in _agreement(unit, other, permutations, parameters):
            jaccard[draw, place[rows]] += jaccard_index(n_kept, parameters.n_neighbours)
            overlap[draw, place[rows]] += weight
        shares[place] += partner_shares(
            _neighbours(unit, parameters.n_neighbours, nobody=-1),
            _neighbours(other, parameters.n_neighbours, nobody=-2),
        )
    return jaccard / n_maps, overlap / n_maps, shares / n_maps


def _agreement(
    unit: Float[np.ndarray, "row feature"],
    other: Float[np.ndarray, "row other"],
    permutations: Permutations,
    parameters: GeneralisationParameters,
) -> Iterator[tuple[int, Int[np.ndarray, "found"], Int[np.ndarray, "found"], Float[np.ndarray, "found"]]]:
    """Yields draw, perturbations, how many neighbours they share, and their rank-biased overlap."""
    depth = max(overlap_depth(len(unit) - 1, parameters.persistence), parameters.n_neighbours)
    weights = np.append(overlap_weights(depth, parameters.persistence), 0.0)
    nearest, own_rank = _nearest(unit, depth)

    def ranks(start: int, stop: int) -> Int[np.ndarray, "row column"]:
        there, rank = _nearest_of(other, start, stop, depth)
        found = np.full((stop - start, len(other) + 1), depth + 1, dtype=np.int32)
        np.put_along_axis(found, there, rank, axis=1)
        return found

    for draw, rows, rank in permuted_lookups(ranks, nearest, permutations, np.arange(len(unit))):
        farther = np.maximum(rank, own_rank[rows])
        n_shared = (farther[:, : parameters.n_neighbours] <= parameters.n_neighbours).sum(axis=1)
        yield draw, rows, n_shared, weights[farther].sum(axis=1)


def _neighbours(unit: Float[np.ndarray, "row feature"], n_neighbours: int, *, nobody: int) -> Neighbours:
    """The nearest other rows of each row; `nobody` in place of those that tie with a farther one."""
    nearest, rank = _nearest(unit, n_neighbours)
    return np.where(rank <= n_neighbours, nearest, nobody)


def _nearest(unit: Float[np.ndarray, "row feature"], depth: int) -> tuple[Neighbours, Neighbours]:
    """The nearest other rows of each row, nearest first, and their ranks."""
    found, start = [], 0
    for n_rows in blocks(len(unit), len(unit)):
        found.append(_nearest_of(unit, start, start + n_rows, depth))
        start += n_rows
    nearest, rank = zip(*found, strict=True)
    return np.concatenate(nearest), np.concatenate(rank)


def _nearest_of(
    unit: Float[np.ndarray, "row feature"], start: int, stop: int, depth: int
) -> tuple[Neighbours, Neighbours]:
    """The nearest other rows of some rows, nearest first, and their ranks, at most depth + 1.

    The rank of a neighbour is the number of rows that are at least as near, or nearer by rounding.
    """
    cosines = unit[start:stop] @ unit.T
    cosines[np.arange(stop - start), np.arange(start, stop)] = -np.inf
    nearest = np.argpartition(-cosines, depth - 1, axis=1)[:, :depth]
    order = np.argsort(-np.take_along_axis(cosines, nearest, axis=1), axis=1, kind="stable")
    nearest = np.take_along_axis(nearest, order, axis=1)
    ordered = np.take_along_axis(cosines, nearest, axis=1)
    rank = np.tile(np.arange(1, depth + 1), (len(ordered), 1))
    for shift in range(1, depth):
        is_tied = ordered[:, shift:] >= ordered[:, :-shift] - COSINE_ROUNDING
        if not is_tied.any():
            break
        rank[:, :-shift] += is_tied
    farthest = ordered[:, -1:]  # rows that are not listed may be as near
    n_as_near = (cosines >= farthest - COSINE_ROUNDING).sum(axis=1, keepdims=True)
    rank = np.where(ordered <= farthest + COSINE_ROUNDING, np.minimum(n_as_near, depth + 1), rank)
    return nearest, rank.astype(np.int32)
