"""Aggregation: many vectors become one, from sites to a well and from wells to a perturbation.

Holds the mean, the coordinate-wise median and the geometric median of vectors by group. `unit_labels` decides which
wells belong together. Alignment happens before, in `cellassets.mapping.align`.
"""

from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from cellassets.errors import AlignmentError
from cellassets.finite import finite_arguments, require_finite
from cellassets.mapping.controls import is_treatment
from cellassets.mapping.medians import stacked_medians
from cellassets.tables.schemas import PERTURBATION_COLUMNS

BLOCK_VALUES = 1 << 20  # number of values whose medians are computed together

AggregateBy = Literal["perturbation", "gene"]
Aggregation = Literal["mean", "median", "geometric_median"]


def unit_labels(wells: pl.DataFrame, aggregate_by: AggregateBy) -> list[str]:
    """Returns the unit of each well: a name that its replicates share.

    Args:
        wells: rows with the perturbation columns.
        aggregate_by: "perturbation": the perturbation_id (a guide, or a compound at one dose). "gene": the gene symbol
            if a known gene was perturbed, so that all guides of a gene are replicates of each other; otherwise the
            perturbation_id.
    """
    if aggregate_by == "perturbation":
        return wells["perturbation_id"].to_list()
    is_gene = (
        pl.Series(is_treatment(wells)) & (wells["perturbation_kind"] == "gene") & wells["gene_symbol"].is_not_null()
    )
    return wells.select(pl.when(is_gene).then("gene_symbol").otherwise("perturbation_id")).to_series().to_list()


@finite_arguments(AlignmentError)
def group_mean(
    values: Float[np.ndarray, "row feature"], group_index: Int[np.ndarray, "row"], n_groups: int
) -> Float[np.ndarray, "group feature"]:
    """Returns the mean of the rows of each group, by one sparse product (20 times as fast as a loop over groups).

    Args:
        values: one row per site or well.
        group_index: group of each row, 0 to n_groups - 1; every group has at least one row.
        n_groups: number of groups.
    """
    from scipy.sparse import csr_array

    counts = np.bincount(group_index, minlength=n_groups)
    rows = np.arange(len(values))
    weights = csr_array((1.0 / counts[group_index], (group_index, rows)), shape=(n_groups, len(values)))
    return weights @ values.astype(np.float64)


@finite_arguments(AlignmentError)
def group_median(
    values: Float[np.ndarray, "row feature"], group_index: Int[np.ndarray, "row"], n_groups: int
) -> Float[np.ndarray, "group feature"]:
    """Returns the coordinate-wise median of each group: the median of each coordinate on its own.

    Source: `aggregate(method="median")` of EFAAR_benchmarking (Celik et al. 2024, PLOS Comput Biol 20:e1012463). In
    one dimension this is the half-space median of Tukey (1975). The half-space median in d dimensions would not help:
    with n <= d + 1 wells in general position, every well has depth 1/n and the centroid of the deepest region is the
    mean. The geometric median does protect against outliers in many dimensions.
    """
    rows_of_group = group_rows(group_index, n_groups)
    sizes = np.array([len(rows) for rows in rows_of_group])
    medians = np.empty((n_groups, values.shape[1]), dtype=values.dtype)
    for size in np.unique(sizes):
        groups = np.flatnonzero(sizes == size)
        n_at_once = max(1, BLOCK_VALUES // (int(size) * values.shape[1]))
        for start in range(0, len(groups), n_at_once):
            part = groups[start : start + n_at_once]
            medians[part] = stacked_medians(values[np.stack([rows_of_group[group] for group in part])])
    return medians


@finite_arguments(AlignmentError)
def group_geometric_median(
    values: Float[np.ndarray, "row feature"], group_index: Int[np.ndarray, "row"], n_groups: int
) -> Float[np.ndarray, "group feature"]:
    """Returns the point with the smallest summed distance to the rows of each group; independent of the axes."""
    return np.stack([geometric_median(values[rows]) for rows in group_rows(group_index, n_groups)])


@finite_arguments(AlignmentError)
def geometric_median(
    values: Float[np.ndarray, "row feature"], *, n_iterations: int = 200, tolerance: float = 1e-9
) -> Float[np.ndarray, "feature"]:
    """Returns the geometric (spatial) median of the rows.

    Args:
        values: one row per well.
        n_iterations: maximum number of steps.
        tolerance: the iteration ends at a step shorter than this share of the spread of the rows.

    Source: Weiszfeld's iteration as corrected by Vardi and Zhang (2000), PNAS 97:1423, equations 2.5 to 2.7, which
    also stops correctly if the median is one of the rows.
    """
    points = values.astype(np.float64)
    median = points.mean(axis=0)
    spread = float(np.linalg.norm(points - median, axis=1).max())
    for _ in range(n_iterations):
        offsets = points - median
        distances = np.linalg.norm(offsets, axis=1)
        is_apart = distances > 1e-12 * spread
        if not is_apart.any():
            break
        weights = 1.0 / distances[is_apart]
        pull = weights @ offsets[is_apart]
        n_here, strength = int((~is_apart).sum()), float(np.linalg.norm(pull))
        if strength <= n_here:
            break
        step = (1.0 - n_here / strength) * pull / weights.sum()
        median = median + step
        if np.linalg.norm(step) <= tolerance * spread:
            break
    return median


def group_rows(group_index: Int[np.ndarray, "row"], n_groups: int) -> list[Int[np.ndarray, "member"]]:
    """Returns the rows of each group."""
    order = np.argsort(group_index, kind="stable")
    bounds = np.searchsorted(group_index[order], np.arange(1, n_groups))
    return np.split(order, bounds)


AGGREGATIONS = {"mean": group_mean, "median": group_median, "geometric_median": group_geometric_median}


def aggregate_wells(
    wells: pl.DataFrame,
    embeddings: Float[np.ndarray, "well feature"],
    *,
    aggregate_by: AggregateBy,
    method: Aggregation,
) -> tuple[pl.DataFrame, Float[np.ndarray, "unit feature"]]:
    """Returns one row per perturbation (controls included), sorted by name, and the vectors.

    Args:
        wells: WELL_EMBEDDINGS rows (their own embedding column is not read).
        embeddings: aligned vectors of these wells.
        aggregate_by: what counts as one perturbation.
        method: how the vectors of the wells become one vector.

    Returns:
        The perturbation columns (null where the wells of a perturbation differ, as the guides of a gene do), n_wells
        and n_batches; and the vectors in the same order.

    Raises:
        AlignmentError: one name is used for two kinds of perturbation or control or for two concentrations, or a vector
            is not finite.
    """
    require_finite("aggregate_wells", embeddings, names=wells["well_id"].to_list(), kind="well", error=AlignmentError)
    labels = pl.Series("unit", unit_labels(wells, aggregate_by))
    names, index = np.unique(labels.to_numpy(), return_inverse=True)
    vectors = AGGREGATIONS[method](embeddings, index, len(names))
    columns = [column.name for column in PERTURBATION_COLUMNS if column.name != "perturbation_id"]
    table = (
        wells.with_columns(labels)
        .group_by("unit")
        .agg(
            *(pl.when(pl.col(c).n_unique() == 1).then(pl.col(c).first()).alias(c) for c in columns),
            pl.col("control_kind").n_unique().alias("n_control_kinds"),
            pl.col("concentration_um").drop_nulls().unique().sort().alias("doses"),
            pl.len().cast(pl.Int32).alias("n_wells"),
            pl.col("batch_id").n_unique().cast(pl.Int32).alias("n_batches"),
        )
    )
    mixed = table.filter(pl.col("perturbation_kind").is_null() | (pl.col("n_control_kinds") > 1))["unit"].to_list()
    if mixed:
        message = (
            f"{sorted(mixed)[:5]}: one name for several kinds of perturbation or control, expected one kind for each "
            "name; rename one of them in metadata.csv"
        )
        raise AlignmentError(message)
    dosed = table.filter(pl.col("doses").list.len() > 1).sort("unit")
    if dosed.height:
        message = (
            f"{dosed['unit'][0]}: one name for the concentrations {dosed['doses'][0].to_list()} µM ({dosed.height} "
            "such names), whose wells would be averaged; give each concentration a name of its own in metadata.csv"
        )
        raise AlignmentError(message)
    table = table.drop("n_control_kinds", "doses").sort("unit").rename({"unit": "perturbation_id"})
    return table, vectors
