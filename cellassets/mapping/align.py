"""Alignment: wells of different batches made comparable. What each step of the default chain fits to the wells.

A fit reads a `WellSource` (memory or files) and returns maps that are affine by batch; `cellassets.mapping.affine`
applies them. Every fit that learns from negative controls takes a `BatchDesign`, whose controls leave out the held-out
ones. Which steps run in which order is `cellassets.mapping.steps`' business; steps exactly as published elsewhere are
in `efaar`, `robust`, `sphering`, `position` and `arms`. Memory: a batch's controls, a block of wells, a matrix a batch.
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
    """Returns the map to mean 0 and standard deviation 1 in every batch, over all its wells.

    A feature that is constant in a batch becomes 0 there.

    Source: `centerscale_by_batch` of EFAAR_benchmarking (Celik et al. 2024, PLOS Comput Biol 20:e1012463).
    """
    groups = moments_by_group(wells, fitted_rows(design, "all"))
    deviation = np.sqrt([group.variance for group in groups])
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-12)
    return centred_affine(design.batch_index, np.stack([group.mean for group in groups]), scale)


def fit_principal_components(wells: WellSource, fitted: Rows, n_components: int | None) -> GroupAffine:
    """Returns the map to the wells' coordinates on the leading principal components.

    Args:
        wells: one row a well.
        fitted: wells that mean and components are taken from (all, or the controls).
        n_components: most components (None: all); fewer where features or fitted wells are fewer.

    Source: Pearson (1901); `embed_by_pca` of EFAAR_benchmarking. Each component's sign is set so that its largest
    loading is positive, which makes the result independent of the linear algebra library.
    """
    moments = source_moments(wells, fitted, has_products=True)
    wanted = wells.n_features if n_components is None else n_components
    n_kept = max(1, min(wanted, wells.n_features, moments.n - 1))
    axes = signed_axes(moments.scatter)[1][:, :n_kept]
    return centred_affine(None, moments.mean[None], axes[None])


def fit_centre_scale_on_controls(wells: WellSource, design: BatchDesign, *, n_prior_controls: int) -> GroupAffine:
    """Returns the map after which controls have mean 0 and standard deviation near 1 in every batch.

    Args:
        wells: one row a well.
        design: batches and the controls to fit on, at least 2 a batch.
        n_prior_controls: the batch's variance is moderated by the pooled within-batch variance as if that came from so
            many more controls; 0 is the published step. A batch's own variance from 4 controls is off by a factor of
            2 either way in one feature of three.

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
    """Returns the map after which controls have mean 0 in every batch."""
    mean = np.stack([group.mean for group in moments_by_group(wells, fitted_rows(design, "controls"))])
    return centred_affine(design.batch_index, mean, np.ones((1, wells.n_features)))


def fit_whiten_on_controls(wells: WellSource, design: BatchDesign) -> GroupAffine:
    """Returns the map to the controls' principal axes, each axis scaled to the controls' unit variance.

    The covariance is pooled within batches and shrunk (Ledoit-Wolf), so that axes which few controls happen not to
    vary along are not blown up.

    Source: Ando, McLean and Berndl (2017), bioRxiv 161422, typical variation normalisation.
    """
    values, axes = signed_axes(shrunk_control_covariance(wells, design))
    weight = axes / np.sqrt(np.maximum(values, 1e-12))
    return GroupAffine(None, weight[None], np.zeros((1, len(values))))


def fit_correlation_alignment(wells: WellSource, design: BatchDesign, *, ridge: float) -> GroupAffine:
    """Returns the map that brings the controls' covariance of every batch to that of all batches.

    Args:
        wells: wells centred on their batch's controls.
        design: batches and the controls to fit on, at least 2 a batch.
        ridge: added to the diagonal of both covariances (0.5 in EFAAR, in units of a whitened axis' variance); more
            means milder correction. The batch's covariance is shrunk (Ledoit-Wolf) before, since a batch has fewer
            controls than axes.

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
    """Returns the maps of typical-variation normalisation: centring a batch, whitening, CORAL a batch.

    Source: Ando et al. (2017) with CORAL as in Celik et al. (2024). EFAAR's `tvn_on_controls` centres on all controls
    together and never a batch by itself, which leaves the batches where they were (nearest-neighbour batch accuracy
    1.000 before and after, measured); here every batch is centred on its own controls first.
    """
    white: Chain = (fit_centre_on_controls(wells, design), fit_whiten_on_controls(wells, design))
    aligned = fit_correlation_alignment(Aligned(wells, white), design, ridge=ridge)
    return merged((*white, aligned), wells.n_features)


def control_residuals(wells: WellSource, design: BatchDesign) -> Iterator[Float[np.ndarray, "control feature"]]:
    """Yields, a batch after another, its controls minus their mean."""
    for rows in fitted_rows(design, "controls"):
        values: Block = wells.rows(rows)
        yield values - values.mean(axis=0)


def shrunk_control_covariance(wells: WellSource, design: BatchDesign) -> Square:
    """Returns the controls' covariance within their batches, shrunk after Ledoit and Wolf."""
    scatter, n, fourth = np.zeros((wells.n_features, wells.n_features)), 0, 0.0
    for residuals in control_residuals(wells, design):
        scatter += residuals.T @ residuals
        n += len(residuals)
        fourth += fourth_powers(residuals)
    return shrunk_covariance(scatter, n, fourth)


def control_moments(wells: WellSource, design: BatchDesign, *, has_products: bool) -> Moments:
    """Returns the moments of all controls together, read a batch at a time."""
    rows = fitted_rows(design, "controls")
    return merge(source_moments(wells, r, has_products=has_products) for r in rows if len(r))
