"""Robust z-scores: medians and median absolute deviations of plates or batches instead of means and deviations."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from cellassets.errors import AlignmentError
from cellassets.mapping.affine import GroupAffine, centred_affine
from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.medians import row_medians
from cellassets.mapping.source import Block, FitOn, WellSource, group_rows_of

MAD_TO_DEVIATION = 1.4826  # median absolute deviation of a normal distribution to its standard deviation
MIN_WELLS = 3  # the absolute deviations of two wells from their median are equal: no spread is left to see
Scope = Literal["plate", "batch"]


def fit_robust_z(wells: WellSource, design: BatchDesign, *, scope: Scope, fit_on: FitOn, epsilon: float) -> GroupAffine:
    """Returns the map (x - median) / (1.4826 MAD + epsilon) of every plate or batch.

    A feature of which at least half of a group's fitted wells are equal has a MAD of 0; it becomes 0 in that group
    (pycytominer divides by epsilon alone, which makes values of 1e18 with its default). One group is in memory at a
    time.

    Args:
        wells: one row a well.
        design: batches, controls, and for plates the wells' places.
        scope: what is scaled by itself.
        fit_on: all wells of it, or its controls, at least 3.
        epsilon: added to the deviation, 1e-18 in pycytominer; larger damps features that hardly vary.

    Raises:
        AlignmentError: a plate or batch has fewer than 3 wells to fit on, or plates are not known.

    Source: `RobustMAD` (`mad_robustize`) of pycytominer, as in the JUMP profiles (Chandrasekaran et al. 2024, Nat
    Methods 21:1114).
    """
    names, index = scope_groups(design, scope)
    groups = group_rows_of(index, len(names), design.is_control if fit_on == "controls" else None)
    few = [f"{name} has {len(r)}" for name, r in zip(names, groups, strict=True) if len(r) < MIN_WELLS]
    if few:
        message = (
            f"robust_z: too few wells ({fit_on}) a {scope}: {', '.join(few[:10])}; each needs {MIN_WELLS}. Fit on all "
            "wells, scale batches instead of plates, or hold out fewer controls"
        )
        raise AlignmentError(message)
    fitted = [median_and_deviation(wells.rows(rows)) for rows in groups]
    deviation = np.stack([d for _, d in fitted])
    scale = np.divide(1.0, deviation + epsilon, out=np.zeros_like(deviation), where=deviation > 0)
    return centred_affine(index, np.stack([median for median, _ in fitted]), scale)


def scope_groups(design: BatchDesign, scope: Scope) -> tuple[tuple[str, ...], Int[np.ndarray, "well"]]:
    """Returns the names of the plates or batches and each well's number among them.

    Raises:
        AlignmentError: plates are asked for and not known.
    """
    if scope == "batch":
        return design.batch_names, design.batch_index
    places = design.known_places()
    return places.plate_names, places.plate_index


def median_and_deviation(values: Block) -> tuple[Float[np.ndarray, "feature"], Float[np.ndarray, "feature"]]:
    """Returns each feature's median, and its median absolute deviation times 1.4826."""
    columns = values.T.copy(order="C")
    median = row_medians(columns)
    columns -= median[:, None]
    return median, MAD_TO_DEVIATION * row_medians(np.abs(columns, out=columns))
