"""Sphering: features are decorrelated and scaled on the controls, as in the profiles of JUMP Cell Painting."""

from typing import Literal

import numpy as np

from cellassets.errors import AlignmentError
from cellassets.mapping.affine import GroupAffine, centred_affine
from cellassets.mapping.align import control_moments
from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.moments import Moments, signed_axes, source_moments
from cellassets.mapping.source import WellSource, fitted_rows

SpheringMethod = Literal["zca", "zca_cor", "pca", "pca_cor"]


def fit_sphering(
    wells: WellSource,
    design: BatchDesign,
    *,
    method: SpheringMethod,
    epsilon: float,
    within: Literal["batch", "dataset"],
) -> GroupAffine:
    """Returns the affine map that whitens the controls: their covariance becomes the identity (up to epsilon).

    Args:
        wells: one row per well.
        design: batches and the controls to fit on.
        method: "pca" rotates to the principal axes and scales them; "zca" then rotates back, so that the features
            change as little as possible; "_cor" standardises the features on the controls before.
        epsilon: added to the singular values of the centred controls (which are sqrt(n - 1) standard deviations).
        within: one map for the whole dataset, or one map per batch.

    If there are not more controls than features, the controls do not span all axes. The remaining axes get the smallest
    singular value of the axes that they do span. "pca" leaves them out, because they cannot be distinguished from each
    other (pycytominer keeps arbitrary ones).

    Raises:
        AlignmentError: a feature is constant among the controls, or features are linearly dependent.

    Source: `Spherize` of pycytominer 1.7; Kessy, Lewin and Strimmer (2018), Am Stat 72:309, table 1.
    """
    if within == "dataset":
        groups = [control_moments(wells, design, has_products=True)]
    else:
        rows = fitted_rows(design, "controls", 2)
        groups = [source_moments(wells, r, has_products=True) for r in rows]
    weights = [sphering_matrix(group, method, epsilon) for group in groups]
    n_kept = min(weight.shape[1] for weight in weights)
    index = design.batch_index if within == "batch" else None
    stacked = np.stack([weight[:, :n_kept] for weight in weights])
    return centred_affine(index, np.stack([group.mean for group in groups]), stacked)


def sphering_matrix(moments: Moments, method: SpheringMethod, epsilon: float) -> np.ndarray:
    """Returns the matrix W for which the centred controls times W are white.

    Raises:
        AlignmentError: see `fit_sphering`.
    """
    n, n_features = moments.n, len(moments.mean)
    deviation = np.ones(n_features)
    if method.endswith("_cor"):
        deviation = _deviations(moments)
    values, axes = signed_axes(moments.scatter / np.outer(deviation, deviation))
    rank = min(n - 1, n_features)
    _check_rank(values, rank)
    singular = np.sqrt(np.maximum(values, 0.0))
    singular[rank:] = singular[rank - 1]
    weight = axes * (np.sqrt(n - 1) / (singular + epsilon))
    weight = weight @ axes.T if method.startswith("zca") else weight[:, :rank]
    return weight / deviation[:, None]


def _deviations(moments: Moments) -> np.ndarray:
    constant = np.flatnonzero(moments.variance <= 1e-24 * (1.0 + moments.mean**2))
    if len(constant):
        message = (
            f"sphering: features {constant[:10].tolist()} do not vary among the controls and cannot be standardised; "
            "use the method zca or pca after a pca step, or remove these features from the encoder"
        )
        raise AlignmentError(message)
    return np.sqrt(moments.variance)


def _check_rank(values: np.ndarray, rank: int) -> None:
    if rank < 1 or values[rank - 1] <= 1e-13 * values[0]:
        n_found = int((values > 1e-13 * values[0]).sum())
        message = (
            f"sphering: controls span {n_found} axes, {rank} expected: some features are constant or depend linearly "
            f"on others; put a pca step with at most {n_found} components before sphering"
        )
        raise AlignmentError(message)
