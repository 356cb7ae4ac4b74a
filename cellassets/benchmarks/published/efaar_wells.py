"""Perturbation consistency and magnitude as EFAAR publishes them, with unexpressed genes as the null distribution.

`cellassets.benchmarks.replicates` differs in the null distribution: here it is the values of unexpressed genes,
whatever their numbers of wells and plates. Only the controls are drawn at random.
"""

from collections.abc import Collection
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Float, Int, Shaped

from cellassets.benchmarks.published.checked import (
    Names,
    checked_names,
    matrix_arguments,
    require_count,
    require_places,
)
from cellassets.benchmarks.published.groups import group_sums, grouped_blocks, named_codes
from cellassets.errors import BenchmarkError
from cellassets.finite import finite_arguments

LEAST_SQUARED_DISTANCE = 1e-8  # below it geomloss takes this for the square, so a well is 1e-4 from itself
N_WELLS_OF_MAGNITUDE = 5
Wells = Float[np.ndarray, "well feature"]


@matrix_arguments("wells")
@finite_arguments(BenchmarkError, wells=("perturbation", "well of"))
def perturbation_consistency(wells: Wells, perturbation: Names, *, unexpressed: Collection[str] = ()) -> pl.DataFrame:
    """Returns the mean cosine over the pairs of each perturbation's wells, and its p-value.

    Args:
        wells: aligned vectors.
        perturbation: name of each well's perturbation; every well once, because a copy counts as a replicate.
        unexpressed: perturbations whose values are the null distribution; they get no row.

    Returns:
        perturbation_id, n_wells, value, p_value; NaN with fewer than 2 wells, p_value NaN without unexpressed genes.

    Raises:
        BenchmarkError: no well is of an unexpressed gene, though some are named; there is no well, a well has no name,
            or a vector is not finite.

    Source: Celik et al. (2024), PLOS Comput Biol 20:e1012463, perturbation signal consistency.
    """
    perturbation = checked_names("perturbation_consistency", perturbation, len(wells), what="perturbations")
    names, group = named_codes(perturbation)
    n_wells = np.bincount(group)
    sums, lengths = group_sums(wells, group, len(names))
    pairs = n_wells * (n_wells - 1)
    total = np.einsum("gf,gf->g", sums, sums) - lengths
    values = np.divide(total, pairs, out=np.full(len(names), np.nan), where=pairs > 0)
    return _against_null(names, n_wells, values, unexpressed=unexpressed, side="left")


@matrix_arguments("wells")
@finite_arguments(BenchmarkError, wells=("perturbation", "well of"))
def perturbation_magnitude(
    wells: Wells,
    perturbation: Names,
    *,
    control: str,
    unexpressed: Collection[str] = (),
    max_controls: int = 1000,
    seed: int = 0,
) -> pl.DataFrame:
    """Returns each perturbation's energy distance to the control wells, and its p-value.

    Args:
        wells: aligned vectors.
        perturbation: name of each well's perturbation.
        control: the perturbation that all others are compared with; it gets no row.
        unexpressed: perturbations whose values are the null distribution; they get no row.
        max_controls: control wells to compare with; where there are more, some are drawn.
        seed: of that draw. The reference draws without a seed.

    Returns:
        perturbation_id, n_wells, value, p_value; NaN with fewer than 5 wells, p_value NaN without unexpressed genes.

    Raises:
        BenchmarkError: there is no control well, or no well of an unexpressed gene though some are named; there is no
            well, a well has no name, or a vector is not finite; `max_controls` is below 1.

    Source: Celik et al. (2024), PLOS Comput Biol 20:e1012463, perturbation signal magnitude.
    """
    require_count("perturbation_magnitude", max_controls=max_controls)
    perturbation = checked_names("perturbation_magnitude", perturbation, len(wells), what="perturbations")
    control_rows = np.flatnonzero(perturbation == control)
    if len(control_rows) == 0:
        message = f"perturbation_magnitude: no well of the control {control!r} among {len(wells)}; check its name"
        raise BenchmarkError(message)
    if len(control_rows) > max_controls:
        control_rows = np.random.default_rng(seed).choice(control_rows, max_controls, replace=False)
    others = np.flatnonzero(perturbation != control)
    names, group = named_codes(perturbation[others])
    n_wells = np.bincount(group, minlength=len(names))
    values = np.full(len(names), np.nan)
    is_scored = n_wells >= N_WELLS_OF_MAGNITUDE
    rows = others[is_scored[group]]
    if len(rows):
        values[is_scored] = energy_distances(wells, rows, named_codes(perturbation[rows])[1], controls=control_rows)
    return _against_null(names, n_wells, values, unexpressed=unexpressed, side="right")


@matrix_arguments("wells")
@finite_arguments(BenchmarkError)
def energy_distances(
    wells: Wells, rows: Int[np.ndarray, "row"], group: Int[np.ndarray, "row"], *, controls: Int[np.ndarray, "control"]
) -> Float[np.ndarray, "group"]:
    """Returns 2 E|x - y| - E|x - x'| - E|y - y'| between each group x and the controls y.

    Means are over all pairs, those of a well with itself included, and no distance is below 1e-4: twice the result of
    `geomloss.SamplesLoss("energy")` in double precision.

    Args:
        wells: vectors.
        rows: places of the wells of x.
        group: group of each of them, from 0 without a gap.
        controls: places of the wells of y.

    Raises:
        BenchmarkError: a place is not among the wells, or a vector is not finite.
    """
    require_places("energy_distances", len(wells), rows=rows, controls=controls)
    n_x, n_y = np.bincount(group), len(controls)
    together, alone = np.zeros(len(rows), dtype=np.int64), np.zeros(n_y, dtype=np.int64)
    between = _distance_sums(wells, rows, controls, groups=(together, alone))
    within_x = _distance_sums(wells, rows, rows, groups=(group, group))
    within_y = _distance_sums(wells, controls, controls, groups=(alone, alone)).sum()
    sums_x = np.bincount(group, within_x)
    return 2 * np.bincount(group, between) / (n_x * n_y) - sums_x / n_x**2 - within_y / n_y**2


def _distance_sums(
    wells: Wells,
    first: Int[np.ndarray, "first"],
    second: Int[np.ndarray, "second"],
    *,
    groups: tuple[Int[np.ndarray, "first"], Int[np.ndarray, "second"]],
) -> Float[np.ndarray, "first"]:
    """Each first well's distances to the second wells of its group, summed."""
    sums = np.empty(len(first))
    for queries, partners in grouped_blocks(*groups):
        x, y = (wells[rows].astype(np.float64, copy=False) for rows in (first[queries], second[partners]))
        squared = x @ (-2 * y.T)
        squared += np.einsum("wf,wf->w", x, x)[:, None]
        squared += np.einsum("wf,wf->w", y, y)
        np.sqrt(np.maximum(squared, LEAST_SQUARED_DISTANCE, out=squared), out=squared)
        in_group = groups[0][queries][:, None] == groups[1][partners]
        sums[queries] = np.einsum("qp,qp->q", squared, in_group)
    return sums


def _against_null(
    names: Shaped[np.ndarray, "group"],
    n_wells: Int[np.ndarray, "group"],
    values: Float[np.ndarray, "group"],
    *,
    unexpressed: Collection[str],
    side: Literal["left", "right"],
) -> pl.DataFrame:
    is_null = np.isin(names, list(unexpressed))
    if len(unexpressed) and not is_null.any():
        message = f"none of {len(unexpressed)} unexpressed genes has a well here; are the names of the same kind?"
        raise BenchmarkError(message)
    is_row = ~is_null
    p_values = published_p_values(values[is_row], values[is_null], side=side)
    columns = {"perturbation_id": names, "n_wells": n_wells, "value": values}
    return pl.DataFrame({name: column[is_row] for name, column in columns.items()} | {"p_value": p_values})


def published_p_values(
    values: Float[np.ndarray, "unit"], null: Float[np.ndarray, "draw"], *, side: Literal["left", "right"]
) -> Float[np.ndarray, "unit"]:
    """Returns 1 - (draws below the value) / draws; 0 where a value is above all draws.

    NaNs among the draws are sorted above all numbers: they count as draws that no value exceeds.

    Args:
        values: observed values; NaN gives NaN.
        null: values of unexpressed genes.
        side: "left" where draws equal to the value are not below it (consistency), "right" where they are (magnitude).

    Source: Celik et al. (2024), PLOS Comput Biol 20:e1012463, and the rule of its code.
    """
    if len(null) == 0:
        return np.full(len(values), np.nan)
    p_values = 1 - np.searchsorted(np.sort(null), values, side=side) / len(null)
    return np.where(np.isnan(values), np.nan, p_values)
