"""Alignment exactly as the reference implementation EFAAR_benchmarking does it, to compare maps with published ones.

The steps of `cellassets.mapping.align` are the ones to use; these are here so that a published figure can be made
again. Differences of the published definitions from ours are in docs/statistics.md, with numbers.

Source: Celik et al. (2024), PLOS Comput Biol 20:e1012463, and the functions of `efaar_benchmarking.efaar` named below.
"""

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
    """Returns the map that takes the mean of every batch's wells, or controls, to 0."""
    mean = np.stack([group.mean for group in moments_by_group(wells, fitted_rows(design, fit_on, 1))])
    return centred_affine(design.batch_index, mean, np.ones((1, wells.n_features)))


def fit_centre_scale(wells: WellSource, design: BatchDesign, *, fit_on: FitOn, within: Within) -> GroupAffine:
    """Returns the map to mean 0 and standard deviation 1 (over n) of the wells that it is fitted on.

    Args:
        wells: one row a well.
        design: batches and controls.
        fit_on: all wells, or the controls.
        within: every batch by itself, or the dataset as a whole.

    Source: `centerscale_by_batch` (all wells) and `centerscale_on_controls` (with and without `batch_col`).
    """
    if within == "batch":
        groups = moments_by_group(wells, fitted_rows(design, fit_on, 2))
    elif fit_on == "controls":
        groups = [control_moments(wells, design, has_products=False)]
    else:
        groups = [source_moments(wells, np.arange(wells.n_wells), has_products=False)]
    index = design.batch_index if within == "batch" else None
    scale = np.stack([1.0 / standard_deviation(group) for group in groups])
    return centred_affine(index, np.stack([group.mean for group in groups]), scale)


def fit_pca(wells: WellSource, design: BatchDesign, *, n_components: int | None, is_scaled_first: bool) -> Chain:
    """Returns the maps to the leading principal components of all wells.

    Args:
        wells: one row a well.
        design: batches.
        n_components: most components; None: all.
        is_scaled_first: every batch is centred and scaled over all its wells before, as `embed_by_pca` always does.

    Source: `embed_by_pca`. Components have the sign that makes their largest loading positive.
    """
    scaled: Chain = (fit_scale_by_batch(wells, design),) if is_scaled_first else ()
    components = fit_principal_components(Aligned(wells, scaled), np.arange(wells.n_wells), n_components)
    return merged((*scaled, components), wells.n_features)


def fit_tvn(wells: WellSource, design: BatchDesign, *, ridge: float) -> Chain:
    """Returns the maps of typical-variation normalisation as published in code.

    All controls together are centred and scaled, turned to their principal axes, and scaled again; then every batch is
    multiplied by (C_b + r I)^(-1/2), C_b the covariance (over n - 1) of its own controls about their own mean. No batch
    is centred. Controls' covariance is the identity by then, so the re-colouring of complete CORAL, (C + r I)^(1/2),
    would multiply everything by one number and change no cosine.

    Axes along which controls do not vary are left out. (The reference keeps them: with no more controls than features
    it scales a component of rounding errors to unit variance.)

    Args:
        wells: one row a well.
        design: batches and the controls to fit on, at least 2 a batch.
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
    deviation = standard_deviation(moments)
    correlation = moments.scatter / moments.n / np.outer(deviation, deviation)
    variances, axes = signed_axes(correlation)
    is_kept = variances > 1e-10 * variances[0]
    weight = axes[:, is_kept] / np.sqrt(variances[is_kept]) / deviation[:, None]
    return centred_affine(None, moments.mean[None], weight[None])


def standard_deviation(moments: Moments) -> Float[np.ndarray, "feature"]:
    """Returns the standard deviation over n, and 1 for a feature that does not vary beyond rounding.

    Source: `StandardScaler` of scikit-learn, whose bound on rounding this is.
    """
    variance, epsilon = moments.variance, float(np.finfo(np.float64).eps)
    bound = moments.n * epsilon * variance + (moments.n * moments.mean * epsilon) ** 2
    return np.where(variance <= bound, 1.0, np.sqrt(variance))
