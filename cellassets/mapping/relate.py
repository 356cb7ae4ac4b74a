"""Relations between perturbations in a map: cosine similarities and nearest neighbours.

The input is vectors or a PERTURBATION_MAP table. Nothing here tests significance; `cellassets.statistics` and
`cellassets.benchmarks` do that.
"""

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from cellassets.errors import AlignmentError, DatasetError
from cellassets.finite import finite_arguments, require_finite
from cellassets.tables.parquet import vectors

COMBINATION_SEPARATOR = "+"
# Vectors are stored in single precision, so each is off by up to 2^-24 of its length, and the cosine of two by 2^-23.
# Two cosines nearer to each other than 2^-22 (2.4e-7) cannot be distinguished.
COSINE_ROUNDING = 2.0**-22
NORM_VALUES = 1 << 16  # values whose squares are held at once
WELLS_AT_ONCE = 4096


def unit_rows(values: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row feature"]:
    """Returns the rows scaled to length 1; a row of zeros does not change.

    Raises:
        AlignmentError: a row is not finite, or too long for its length to be.
    """
    unit = values.astype(np.float64)
    n_rows = max(1, NORM_VALUES // max(1, unit.shape[1]))  # a norm squares its rows in a copy of them
    starts = range(0, max(1, len(unit)), n_rows)
    norms = np.concatenate([np.linalg.norm(unit[start : start + n_rows], axis=1, keepdims=True) for start in starts])
    require_finite("unit_rows", norms, error=AlignmentError)
    return np.divide(unit, norms, out=unit, where=norms > 0)


def cosine_similarities(values: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row row"]:
    """Returns the cosine of every pair of rows, in [-1, 1]; a dense matrix, so for perturbations and not for wells."""
    unit = unit_rows(values)
    return np.clip(unit @ unit.T, -1.0, 1.0)


@finite_arguments(AlignmentError)
def mean_pairwise_cosine(
    values: Float[np.ndarray, "well feature"], group: Int[np.ndarray, "well"], n_groups: int
) -> Float[np.ndarray, "group"]:
    """Returns the mean cosine between two wells of each group; NaN where a group has fewer than two.

    The cosines of all pairs follow from the sum s of n unit vectors: (|s|^2 - n) / (n (n - 1)).

    Args:
        values: vectors of the wells.
        group: group of each well; wells with -1 are left out.
        n_groups: number of groups.
    """
    from scipy.sparse import csr_array

    kept = np.flatnonzero(group >= 0)
    n_wells = np.bincount(group[kept], minlength=n_groups).astype(np.float64)
    sums, squares = np.zeros((n_groups, values.shape[1])), np.zeros(n_groups)
    for start in range(0, len(kept), WELLS_AT_ONCE):
        rows = kept[start : start + WELLS_AT_ONCE]
        unit = unit_rows(values[rows])
        member = csr_array((np.ones(len(rows)), (group[rows], np.arange(len(rows)))), shape=(n_groups, len(rows)))
        sums += member @ unit
        squares += member @ np.square(unit).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (np.square(sums).sum(axis=1) - squares) / (n_wells * (n_wells - 1))
    return np.where(n_wells >= 2, found, np.nan)


@finite_arguments(AlignmentError)
def settled_cosines(cosines: Float[np.ndarray, "*many"]) -> Float[np.ndarray, "*many"]:
    """Returns the cosines rounded to multiples of `COSINE_ROUNDING`.

    Equal vectors, or vectors of one direction and different lengths, must have equal cosines. Without this step they
    would be ranked by rounding errors, which depend on the order of the rows.
    """
    return np.round(cosines / COSINE_ROUNDING) * COSINE_ROUNDING


def combination_parts(name: str) -> tuple[str, ...]:
    """Returns the parts of a combination such as "A+B"; the name itself if it is not a combination."""
    parts = tuple(name.split(COMBINATION_SEPARATOR))
    return parts if all(parts) else (name,)


def is_combination(name: str) -> bool:
    """Returns whether a name is that of a combination: several perturbations, joined by "+"."""
    return len(combination_parts(name)) > 1


def nearest_perturbations(map_table: pl.DataFrame, perturbation_id: str, n_neighbours: int = 10) -> pl.DataFrame:
    """Returns the perturbations that are most similar to one, most similar first: perturbation_id and cosine.

    Args:
        map_table: a PERTURBATION_MAP table.
        perturbation_id: a perturbation of the map.
        n_neighbours: maximum number of rows to return.

    Raises:
        DatasetError: the map has no such perturbation, or a vector that is not finite.
    """
    names = map_table["perturbation_id"].to_list()
    if perturbation_id not in names:
        message = (
            f"no perturbation {perturbation_id!r} in this map; choose one of its {len(names)} perturbations, such as "
            f"{names[:10]}"
        )
        raise DatasetError(message)
    values = vectors(map_table)
    require_finite("nearest_perturbations", values, names=names, kind="perturbation", error=DatasetError)
    unit = unit_rows(values)
    cosines = unit @ unit[names.index(perturbation_id)]
    neighbours = pl.DataFrame({"perturbation_id": names, "cosine": np.clip(cosines, -1.0, 1.0)})
    neighbours = neighbours.filter(pl.col("perturbation_id") != perturbation_id)
    return neighbours.sort("cosine", "perturbation_id", descending=[True, False]).head(n_neighbours)
