"""Generalisation over cell types: does a perturbation have the same neighbours in two maps?"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from cellassets.errors import NotApplicable
from cellassets.mapping.relate import unit_rows
from cellassets.scoring.catalogue.transfer import GeneralisationParameters
from cellassets.scoring.definition import Score
from cellassets.scoring.finer import with_finer_p_values
from cellassets.scoring.judged import JudgedMap
from cellassets.scoring.node_permutation import Permutations, node_permutations, permuted_lookups
from cellassets.scoring.rank_overlap import overlap_depth, overlap_weights
from cellassets.scoring.rows import summary_score, unit_scores
from cellassets.scoring.statistics import blocks, mean_over_nodes
from cellassets.scoring.strata import plate_strata
from cellassets.tables.parquet import vectors

N_DIGITS = 12
TIE_BREAK = 1e-3  # times an overlap: never as much as one neighbour more


def cell_type_generalisation(judged: JudgedMap, parameters: GeneralisationParameters) -> list[Score]:
    """Returns how many neighbours of a perturbation are its neighbours in the model's other maps too.

    Neighbours are found among the perturbations that both maps have. A perturbation's value is the mean over the other
    maps that have it. Null: in the other map, perturbations that share plates in this one give each other their names
    (which plates they share there is not known here). Perturbations that keep equally many neighbours are told apart by
    their rank-biased overlap, or their p-values would be coarse.

    A map with fewer than 2 k + 2 perturbations in common is left out: k stays as it is, since another k would make
    another scale, and with so few nearly any k are neighbours.

    Raises:
        NotApplicable: no other map of this model has so many perturbations in common with this one.

    Source: rank-biased overlap of Webber, Moffat and Zobel (2010), ACM Trans. Inf. Syst. 28:20; the null is the
    permutation of nodes of Hubert (1987), Assignment Methods in Combinatorial Data Analysis.
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
    jaccard, overlap = _draws(judged, names, kept, parameters)
    nodes = np.arange(len(names))[:, None]
    n_wells = own.filter(pl.col("perturbation_id").is_in(names))["n_wells"].cast(pl.Int64).to_numpy()
    units = unit_scores("neighbours_kept", names, jaccard, n_wells=n_wells)
    return [
        summary_score("neighbours_kept", mean_over_nodes(jaccard[0], nodes), jaccard, within=(0.0, 1.0)),
        summary_score("rank_biased_overlap", mean_over_nodes(overlap[0], nodes), overlap, within=(0.0, 1.0)),
        *with_finer_p_values(units, jaccard + TIE_BREAK / parameters.n_neighbours * overlap),
        *unit_scores("rank_biased_overlap", names, overlap, n_wells=n_wells),
    ]


def _treated(table: pl.DataFrame) -> pl.DataFrame:
    columns = ("perturbation_id", "n_wells", "embedding")
    return table.filter(pl.col("control_kind").is_null()).select(columns).sort("perturbation_id")


def _draws(
    judged: JudgedMap, names: Sequence[str], kept: Sequence[pl.DataFrame], parameters: GeneralisationParameters
) -> tuple[Float[np.ndarray, "draw unit"], Float[np.ndarray, "draw unit"]]:
    """Jaccard index and overlap of each perturbation, means over the other maps, as observed in row 0."""
    rng = np.random.default_rng(parameters.seed)
    shape = 1 + parameters.n_permutations, len(names)
    jaccard, overlap, n_maps = np.zeros(shape), np.zeros(shape), np.zeros(len(names))
    for table in kept:
        own = table["perturbation_id"].to_list()
        place = np.searchsorted(np.array(names), np.array(own))
        permutations = node_permutations(plate_strata(judged, own), parameters.n_permutations, rng)
        here, there = vectors(table), vectors(table, "embedding_there")
        for draw, rows, n_kept, weight in _agreement(here, there, permutations, parameters):
            jaccard[draw, place[rows]] += n_kept / (2 * parameters.n_neighbours - n_kept)
            overlap[draw, place[rows]] += weight
        n_maps[place] += 1
    return jaccard / n_maps, overlap / n_maps


def _agreement(
    here: Float[np.ndarray, "row feature"],
    there: Float[np.ndarray, "row other"],
    permutations: Permutations,
    parameters: GeneralisationParameters,
) -> Iterator[tuple[int, Int[np.ndarray, "found"], Int[np.ndarray, "found"], Float[np.ndarray, "found"]]]:
    """Yields draw, perturbations, how many neighbours they share, and their rank-biased overlap."""
    unit, other = unit_rows(here), unit_rows(there)
    depth = max(overlap_depth(len(unit) - 1, parameters.persistence), parameters.n_neighbours)
    weights = np.append(overlap_weights(depth, parameters.persistence), 0.0)
    nearest = _nearest(unit, depth)

    def ranks(start: int, stop: int) -> Int[np.ndarray, "row column"]:
        order = _order(other, start, stop)
        found = np.full((stop - start, len(other) + 1), depth + 1, dtype=np.int32)
        np.put_along_axis(found, order[:, :depth], np.arange(1, depth + 1, dtype=np.int32)[None], axis=1)
        return found

    own_rank = np.arange(1, depth + 1)
    for draw, rows, rank in permuted_lookups(ranks, nearest, permutations, np.arange(len(unit))):
        n_shared = (rank[:, : parameters.n_neighbours] <= parameters.n_neighbours).sum(axis=1)
        yield draw, rows, n_shared, weights[np.maximum(rank, own_rank)].sum(axis=1)


def _nearest(unit: Float[np.ndarray, "row feature"], depth: int) -> Int[np.ndarray, "row neighbour"]:
    """The nearest other rows of each row, nearest first."""
    found, start = [], 0
    for n_rows in blocks(len(unit), len(unit)):
        found.append(_order(unit, start, start + n_rows)[:, :depth])
        start += n_rows
    return np.concatenate(found)


def _order(unit: Float[np.ndarray, "row feature"], start: int, stop: int) -> Int[np.ndarray, "query row"]:
    """Rows by their cosine to some of them, nearest first, each query last; ties in order of the names."""
    cosines = np.round(unit[start:stop] @ unit.T, N_DIGITS)
    cosines[np.arange(stop - start), np.arange(start, stop)] = -np.inf
    return np.argsort(-cosines, axis=1, kind="stable")
