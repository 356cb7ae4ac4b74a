"""Alignment exactly as in the reference implementation EFAAR_benchmarking, to compare maps with published ones.

For your own maps use the steps in `cellassets.mapping.align`; the steps here reproduce published figures.
docs/statistics.md says, with numbers, how the published definitions differ from ours.

Source: Celik et al. (2024), PLOS Comput Biol 20:e1012463, and the functions of `efaar_benchmarking.efaar` named below.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from cellassets.mapping.affine import Aligned, Chain, GroupAffine, centred_affine, merged
from cellassets.mapping.align import control_moments, control_residuals, fit_principal_components, fit_scale_by_batch
from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.moments import Moments, moments_by_group, ridged_power, signed_axes, source_moments
from cellassets.mapping.source import FitOn, WellSource, fitted_rows

Within = Literal["batch", "dataset"]


def fit_centre(wells: WellSource, design: BatchDesign, *, fit_on: FitOn) -> GroupAffine:
    """Returns the affine map that moves the mean of the wells (or controls) of every batch to 0."""
    mean = np.stack([group.mean for group in moments_by_group(wells, fitted_rows(design, fit_on, 1))])
    return centred_affine(design.batch_index, mean, np.ones((1, wells.n_features)))


def fit_centre_scale(wells: WellSource, design: BatchDesign, *, fit_on: FitOn, within: Within) -> GroupAffine:
    """Returns the affine map that gives the fitted wells mean 0 and standard deviation 1 (over n).

    Args:
        wells: one row per well.
        design: batches and controls.
        fit_on: all wells, or the controls.
        within: "batch" scales each batch separately, "dataset" scales all wells together.

    Source: `centerscale_by_batch` (all wells) and `centerscale_on_controls` (with and without `batch_col`).
    """
    if within == "batch":
        groups = moments_by_group(wells, fitted_rows(design, fit_on, 2))
    elif fit_on == "controls":
        groups = [control_moments(wells, design, has_products=False)]
    else:
        groups = [source_moments(wells, np.arange(wells.n_wells), has_products=False)]
    index = design.batch_index if within == "batch" else None
    return centred_affine(index, np.stack([group.mean for group in groups]), 1.0 / standard_deviations(groups))


def fit_pca(wells: WellSource, design: BatchDesign, *, n_components: int | None, is_scaled_first: bool) -> Chain:
    """Returns the affine maps to the leading principal components of all wells.

    Args:
        wells: one row per well.
        design: batches.
        n_components: number of components; None: all.
        is_scaled_first: whether every batch is first centred and scaled over all its wells, as `embed_by_pca` does.

    Source: `embed_by_pca`. Components have the sign that makes their largest loading positive.
    """
    scaled: Chain = (fit_scale_by_batch(wells, design),) if is_scaled_first else ()
    components = fit_principal_components(Aligned(wells, scaled), np.arange(wells.n_wells), n_components)
    return merged((*scaled, components), wells.n_features)


def fit_tvn(wells: WellSource, design: BatchDesign, *, ridge: float) -> Chain:
    """Returns the affine maps of typical-variation normalisation as in the published code.

    All controls together are centred and scaled, rotated to their principal axes, and scaled again. Then every batch is
    multiplied by (C_b + r I)^(-1/2), where C_b is the covariance (over n - 1) of the controls of the batch about their
    own mean. No batch is centred. The covariance of all controls is the identity at this point, so that the second
    factor of complete CORAL, (C + r I)^(1/2), would multiply everything by one number and change no cosine.

    Axes along which the controls do not vary are dropped. (The reference keeps them: if there are not more controls
    than features, it scales a component of rounding errors to unit variance.)

    Args:
        wells: one row per well.
        design: batches and the controls to fit on, at least 2 per batch.
        ridge: r, 0.5 in the reference.

    Source: `tvn_on_controls`; Ando, McLean and Berndl (2017), bioRxiv 161422; Sun, Feng and Saenko (2016), AAAI.
    """
    design.check_controls(2)
    white = _whitening(control_moments(wells, design, has_products=True))
    source = Aligned(wells, (white,))
    power = np.empty((len(design.batch_names), source.n_features, source.n_features))
    for batch, residuals in enumerate(control_residuals(source, design)):
        power[batch] = ridged_power(residuals, 1.0 / (len(residuals) - 1), ridge, -0.5)
    coral = GroupAffine(design.batch_index, power, np.zeros((1, source.n_features)))
    return merged((white, coral), wells.n_features)


def _whitening(moments: Moments) -> GroupAffine:
    deviation = standard_deviations([moments])[0]
    correlation = moments.scatter / moments.n / np.outer(deviation, deviation)
    variances, axes = signed_axes(correlation)
    is_kept = variances > 1e-10 * variances[0]
    weight = axes[:, is_kept] / np.sqrt(variances[is_kept]) / deviation[:, None]
    return centred_affine(None, moments.mean[None], weight[None])


def standard_deviations(groups: Sequence[Moments]) -> Float[np.ndarray, "group feature"]:
    """Returns each group's standard deviation over n; 1 for a feature that varies by no more than rounding errors.

    Source: the bound on rounding errors is that of `StandardScaler` in scikit-learn.
    """
    epsilon = float(np.finfo(np.float64).eps)
    variance, mean = np.stack([group.variance for group in groups]), np.stack([group.mean for group in groups])
    n = np.array([[group.n] for group in groups])
    bound = n * epsilon * variance + (n * mean * epsilon) ** 2
    return np.where(variance <= bound, 1.0, np.sqrt(variance))
