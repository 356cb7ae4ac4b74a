"""Robust z-scores of plates or batches, from the median and the median absolute deviation (MAD)."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from cellassets.errors import AlignmentError
from cellassets.finite import finite_arguments
from cellassets.mapping.affine import GroupAffine, centred_affine
from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.medians import row_medians
from cellassets.mapping.source import Block, FitOn, WellSource, group_rows_of

MAD_TO_DEVIATION = 1.4826  # standard deviation of a normal distribution over its MAD
MIN_WELLS = 3  # two wells always have equal absolute deviations from their median
Scope = Literal["plate", "batch"]


def fit_robust_z(wells: WellSource, design: BatchDesign, *, scope: Scope, fit_on: FitOn, epsilon: float) -> GroupAffine:
    """Returns the affine map (x - median) / (1.4826 MAD + epsilon) of every plate or batch.

    If more than half of the fitted wells of a group have the same value of a feature, the MAD is 0 and the feature
    becomes 0 in that group. (pycytominer divides by epsilon alone, which gives values of 1e18 with its default.) One
    group is in memory at a time.

    Args:
        wells: one row per well.
        design: batches, controls, and for the scope "plate" the places of the wells.
        scope: whether each plate or each batch is scaled.
        fit_on: all wells of the plate or batch, or its controls; at least 3.
        epsilon: added to the deviation, 1e-18 in pycytominer; a larger value damps features that hardly vary.

    Raises:
        AlignmentError: a plate or batch has fewer than 3 wells to fit on, or the plates are not known.

    Source: `RobustMAD` (`mad_robustize`) of pycytominer, as in the JUMP profiles (Chandrasekaran et al. 2024, Nat
    Methods 21:1114).
    """
    names, index = scope_groups(design, scope)
    groups = group_rows_of(index, len(names), design.is_control if fit_on == "controls" else None)
    few = [f"{name} has {len(r)}" for name, r in zip(names, groups, strict=True) if len(r) < MIN_WELLS]
    if few:
        message = (
            f"robust_z: too few wells ({fit_on}) in a {scope}: {', '.join(few[:10])}; each needs {MIN_WELLS}. Fit on "
            "all wells, scale batches instead of plates, or hold out fewer controls"
        )
        raise AlignmentError(message)
    fitted = [median_and_deviation(wells.rows(rows)) for rows in groups]
    deviation = np.stack([d for _, d in fitted])
    scale = np.divide(1.0, deviation + epsilon, out=np.zeros_like(deviation), where=deviation > 0)
    return centred_affine(index, np.stack([median for median, _ in fitted]), scale)


def scope_groups(design: BatchDesign, scope: Scope) -> tuple[tuple[str, ...], Int[np.ndarray, "well"]]:
    """Returns the names of the plates or batches, and for each well the index of its plate or batch.

    Raises:
        AlignmentError: the scope is "plate" and the plates are not known.
    """
    if scope == "batch":
        return design.batch_names, design.batch_index
    places = design.known_places()
    return places.plate_names, places.plate_index


@finite_arguments(AlignmentError)
def median_and_deviation(values: Block) -> tuple[Float[np.ndarray, "feature"], Float[np.ndarray, "feature"]]:
    """Returns for each feature the median, and the median absolute deviation times 1.4826."""
    columns = values.T.copy(order="C")
    median = row_medians(columns)
    columns -= median[:, None]
    return median, MAD_TO_DEVIATION * row_medians(np.abs(columns, out=columns))
