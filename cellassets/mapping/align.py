"""Alignment makes wells of different batches comparable. This file holds the fits of the default steps.

A fit reads a `WellSource` (in memory or in files) and returns maps that are affine by batch, which
`cellassets.mapping.affine` applies. A fit that learns from negative controls takes a `BatchDesign`, whose controls do
not include the held-out ones. `cellassets.mapping.steps` says which steps there are; the steps of other publications
are in `efaar`, `robust`, `sphering`, `position` and `arms`. Memory: the controls of one batch, one block of wells, and
one matrix per batch.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from cellassets.mapping.affine import Aligned, Chain, GroupAffine, centred_affine, merged
from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.moments import (
    Moments,
    Square,
    fourth_powers,
    merge,
    moments_by_group,
    ridged_power,
    shrinkage,
    shrunk_covariance,
    signed_axes,
    source_moments,
    symmetric_power,
)
from cellassets.mapping.source import Block, Rows, WellSource, fitted_rows


def fit_scale_by_batch(wells: WellSource, design: BatchDesign) -> GroupAffine:
    """Returns the affine map to mean 0 and standard deviation 1 in every batch, over all wells of the batch.

    A feature that is constant in a batch becomes 0 in that batch.

    Source: `centerscale_by_batch` of EFAAR_benchmarking (Celik et al. 2024, PLOS Comput Biol 20:e1012463).
    """
    groups = moments_by_group(wells, fitted_rows(design, "all"))
    deviation = np.sqrt([group.variance for group in groups])
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-12)
    return centred_affine(design.batch_index, np.stack([group.mean for group in groups]), scale)


def fit_principal_components(wells: WellSource, fitted: Rows, n_components: int | None) -> GroupAffine:
    """Returns the affine map to the coordinates of the wells on the leading principal components.

    Args:
        wells: one row per well.
        fitted: rows of the wells that give the mean and the components (all wells, or the controls).
        n_components: number of components (None: all); fewer if there are fewer features or fitted wells.

    Source: Pearson (1901); `embed_by_pca` of EFAAR_benchmarking. Each component's sign is set so that its largest
    loading is positive, which makes the result independent of the linear algebra library.
    """
    moments = source_moments(wells, fitted, has_products=True)
    wanted = wells.n_features if n_components is None else n_components
    n_kept = max(1, min(wanted, wells.n_features, moments.n - 1))
    axes = signed_axes(moments.scatter)[1][:, :n_kept]
    return centred_affine(None, moments.mean[None], axes[None])


def fit_centre_scale_on_controls(wells: WellSource, design: BatchDesign, *, n_prior_controls: int) -> GroupAffine:
    """Returns the affine map after which controls have mean 0 and a standard deviation near 1 in every batch.

    Args:
        wells: one row per well.
        design: batches and the controls to fit on, at least 2 per batch.
        n_prior_controls: weight of the pooled within-batch variance in the variance of each batch, as a number of
            additional controls; 0 is the published step. The variance of 4 controls is wrong by more than a factor of
            2 in one feature of three.

    Source: `centerscale_on_controls(batch_col)` of EFAAR_benchmarking; moderation: Smyth (2004), Stat Appl Genet Mol
    Biol 3:3, equation for the posterior variance.
    """
    groups = moments_by_group(wells, fitted_rows(design, "controls", 2))
    squares = np.stack([group.scatter for group in groups])
    n_free = np.array([group.n - 1 for group in groups])
    pooled = squares.sum(axis=0) / max(int(n_free.sum()), 1)
    variance = (squares + n_prior_controls * pooled) / (n_free + n_prior_controls)[:, None]
    scale = 1.0 / np.sqrt(np.maximum(variance, 1e-12 + 1e-6 * pooled.mean()))
    return centred_affine(design.batch_index, np.stack([group.mean for group in groups]), scale)


def fit_centre_on_controls(wells: WellSource, design: BatchDesign) -> GroupAffine:
    """Returns the affine map after which controls have mean 0 in every batch."""
    mean = np.stack([group.mean for group in moments_by_group(wells, fitted_rows(design, "controls"))])
    return centred_affine(design.batch_index, mean, np.ones((1, wells.n_features)))


def fit_whiten_on_controls(wells: WellSource, design: BatchDesign) -> GroupAffine:
    """Returns the affine map to the principal axes of the controls, scaled so that the controls have unit variance.

    The covariance is pooled within batches and shrunk (Ledoit and Wolf). Without shrinkage, axes along which a few
    controls happen to vary little would be magnified.

    Source: Ando, McLean and Berndl (2017), bioRxiv 161422, typical variation normalisation.
    """
    values, axes = signed_axes(shrunk_control_covariance(wells, design))
    weight = axes / np.sqrt(np.maximum(values, 1e-12))
    return GroupAffine(None, weight[None], np.zeros((1, len(values))))


def fit_correlation_alignment(wells: WellSource, design: BatchDesign, *, ridge: float) -> GroupAffine:
    """Returns the affine map that gives the controls of every batch the covariance of all controls (CORAL).

    Args:
        wells: wells, centred on the controls of their batch.
        design: batches and the controls to fit on, at least 2 per batch.
        ridge: added to the diagonal of both covariances (0.5 in EFAAR, in units of the variance of a whitened axis); a
            larger value corrects less. The covariance of the batch is shrunk before (Ledoit and Wolf), because a batch
            usually has fewer controls than axes.

    Source: Sun, Feng and Saenko (2016), AAAI, algorithm 1: X_b (C_b + r I)^(-1/2) (C + r I)^(1/2).
    """
    colour = symmetric_power(shrunk_control_covariance(wells, design) + ridge * np.eye(wells.n_features), 0.5)
    weight = np.empty((len(design.batch_names), wells.n_features, wells.n_features))
    for batch, residuals in enumerate(control_residuals(wells, design)):
        shrunk, scale = shrinkage(residuals.T @ residuals, len(residuals), fourth_powers(residuals))
        factor = (1.0 - shrunk) / len(residuals)
        weight[batch] = ridged_power(residuals, factor, ridge + shrunk * scale, -0.5) @ colour
    return GroupAffine(design.batch_index, weight, np.zeros((1, wells.n_features)))


def fit_typical_variation(wells: WellSource, design: BatchDesign, *, ridge: float) -> Chain:
    """Returns the affine maps of typical-variation normalisation: centre each batch, whiten, then CORAL by batch.

    Source: Ando et al. (2017) with CORAL as in Celik et al. (2024). EFAAR's `tvn_on_controls` centres all controls
    together and does not centre single batches, so the batches stay apart (measured: nearest-neighbour batch accuracy
    1.000 before and after). Here every batch is first centred on its own controls.
    """
    white: Chain = (fit_centre_on_controls(wells, design), fit_whiten_on_controls(wells, design))
    aligned = fit_correlation_alignment(Aligned(wells, white), design, ridge=ridge)
    return merged((*white, aligned), wells.n_features)


def control_residuals(wells: WellSource, design: BatchDesign) -> Iterator[Float[np.ndarray, "control feature"]]:
    """Yields for each batch in turn its controls minus their mean."""
    for rows in fitted_rows(design, "controls"):
        values: Block = wells.rows(rows)
        yield values - values.mean(axis=0)


def shrunk_control_covariance(wells: WellSource, design: BatchDesign) -> Square:
    """Returns the covariance of the controls within their batches, shrunk after Ledoit and Wolf."""
    scatter, n, fourth = np.zeros((wells.n_features, wells.n_features)), 0, 0.0
    for residuals in control_residuals(wells, design):
        scatter += residuals.T @ residuals
        n += len(residuals)
        fourth += fourth_powers(residuals)
    return shrunk_covariance(scatter, n, fourth)


def control_moments(wells: WellSource, design: BatchDesign, *, has_products: bool) -> Moments:
    """Returns the moments of all controls together; they are read one batch at a time."""
    rows = fitted_rows(design, "controls")
    return merge(source_moments(wells, r, has_products=has_products) for r in rows if len(r))
