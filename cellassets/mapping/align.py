"""Alignment: wells of different batches made comparable. Pure functions over matrices, a published step each.

Every step that learns from negative controls takes a `BatchDesign`, whose controls leave out the held-out ones.
Which steps run in which order is `cellassets.mapping.steps`' business. Memory: a few times the input, never
wells x wells.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from cellassets.mapping.controls import BatchDesign

Wells = Float[np.ndarray, "well feature"]
Square = Float[np.ndarray, "feature feature"]


def scale_by_batch(embeddings: Wells, design: BatchDesign) -> Wells:
    """Returns embeddings with mean 0 and standard deviation 1 in every batch, over all its wells.

    A feature that is constant in a batch becomes 0 there.

    Source: `centerscale_by_batch` of EFAAR_benchmarking (Celik et al. 2024, PLOS Comput Biol 20:e1012463).
    """
    scaled = np.empty_like(embeddings, dtype=np.float64)
    for rows in _batches(design):
        values = embeddings[rows].astype(np.float64)
        centred = values - values.mean(axis=0)
        deviation = centred.std(axis=0)
        scaled[rows] = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 1e-12)
    return scaled


def principal_components(
    embeddings: Wells, is_fitted_on: Bool[np.ndarray, "well"], n_components: int
) -> Float[np.ndarray, "well component"]:
    """Returns the wells' coordinates on the leading principal components.

    Args:
        embeddings: one row a well.
        is_fitted_on: wells that mean and components are taken from (all, or the controls).
        n_components: most components; fewer where features or fitted wells are fewer.

    Source: Pearson (1901); `embed_by_pca` of EFAAR_benchmarking. Each component's sign is set so that its largest
    loading is positive, which makes the result independent of the linear algebra library.
    """
    fitted = embeddings[is_fitted_on]
    mean = fitted.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov(fitted, rowvar=False).reshape(embeddings.shape[1], -1))
    n_kept = max(1, min(n_components, embeddings.shape[1], len(fitted) - 1))
    kept = axes[:, np.argsort(values)[::-1][:n_kept]]
    largest = kept[np.abs(kept).argmax(axis=0), np.arange(n_kept)]
    return (embeddings - mean) @ (kept * np.sign(largest))


def centre_scale_on_controls(embeddings: Wells, design: BatchDesign, *, n_prior_controls: int) -> Wells:
    """Returns embeddings whose controls have mean 0 and standard deviation near 1 in every batch.

    Args:
        embeddings: one row a well.
        design: batches and the controls to fit on, at least 2 a batch.
        n_prior_controls: the batch's variance is moderated by the pooled within-batch variance as if that came from so
            many more controls; 0 is the published step. A batch's own variance from 4 controls is off by a factor of
            2 either way in one feature of three.

    Source: `centerscale_on_controls(batch_col)` of EFAAR_benchmarking; moderation: Smyth (2004), Stat Appl Genet Mol
    Biol 3:3, equation for the posterior variance.
    """
    pooled = np.diag(pooled_control_covariance(embeddings, design))
    floor = 1e-12 + 1e-6 * pooled.mean()
    aligned = np.empty_like(embeddings, dtype=np.float64)
    for rows in _batches(design):
        controls = embeddings[rows][design.is_control[rows]]
        n_free = len(controls) - 1
        squares = ((controls - controls.mean(axis=0)) ** 2).sum(axis=0)
        variance = (squares + n_prior_controls * pooled) / (n_free + n_prior_controls)
        aligned[rows] = (embeddings[rows] - controls.mean(axis=0)) / np.sqrt(np.maximum(variance, floor))
    return aligned


def centre_on_controls(embeddings: Wells, design: BatchDesign) -> Wells:
    """Returns embeddings whose controls have mean 0 in every batch."""
    aligned = np.empty_like(embeddings, dtype=np.float64)
    for rows in _batches(design):
        aligned[rows] = embeddings[rows] - embeddings[rows][design.is_control[rows]].mean(axis=0)
    return aligned


def whiten_on_controls(embeddings: Wells, design: BatchDesign) -> Wells:
    """Returns embeddings on the controls' principal axes, each axis scaled to the controls' unit variance.

    The covariance is pooled within batches and shrunk (Ledoit-Wolf), so that axes which few controls happen not to
    vary along are not blown up.

    Source: Ando, McLean and Berndl (2017), bioRxiv 161422, typical variation normalisation.
    """
    residuals = _control_residuals(embeddings, design)
    values, axes = np.linalg.eigh(shrunk_covariance(residuals))
    order = np.argsort(values)[::-1]
    kept = axes[:, order] / np.sqrt(np.maximum(values[order], 1e-12))
    largest = kept[np.abs(kept).argmax(axis=0), np.arange(kept.shape[1])]
    return embeddings @ (kept * np.sign(largest))


def correlation_alignment(embeddings: Wells, design: BatchDesign, *, ridge: float) -> Wells:
    """Returns embeddings in which the controls' covariance of every batch is brought to that of all batches.

    Args:
        embeddings: wells centred on their batch's controls.
        design: batches and the controls to fit on, at least 2 a batch.
        ridge: added to the diagonal of both covariances (0.5 in EFAAR, in units of a whitened axis' variance); more
            means milder correction. The batch's covariance is shrunk (Ledoit-Wolf) before, since a batch has fewer
            controls than axes.

    Source: Sun, Feng and Saenko (2016), AAAI, algorithm 1: X_b (C_b + r I)^(-1/2) (C + r I)^(1/2).
    """
    identity = np.eye(embeddings.shape[1])
    residuals = _control_residuals(embeddings, design)
    colour = symmetric_power(shrunk_covariance(residuals) + ridge * identity, 0.5)
    aligned = np.empty_like(embeddings, dtype=np.float64)
    for rows in _batches(design):
        controls = embeddings[rows][design.is_control[rows]]
        covariance = shrunk_covariance(controls - controls.mean(axis=0))
        aligned[rows] = embeddings[rows] @ (symmetric_power(covariance + ridge * identity, -0.5) @ colour)
    return aligned


def typical_variation(embeddings: Wells, design: BatchDesign, *, ridge: float) -> Wells:
    """Returns embeddings after typical-variation normalisation: centring a batch, whitening, CORAL a batch.

    Source: Ando et al. (2017) with CORAL as in Celik et al. (2024). EFAAR's `tvn_on_controls` centres on all controls
    together and never a batch by itself, which leaves the batches where they were (nearest-neighbour batch accuracy
    1.000 before and after, measured); here every batch is centred on its own controls first.
    """
    centred = centre_on_controls(embeddings, design)
    return correlation_alignment(whiten_on_controls(centred, design), design, ridge=ridge)


def pooled_control_covariance(embeddings: Wells, design: BatchDesign) -> Square:
    """Returns the covariance of the controls within their batches, pooled: residuals' squares over n - batches."""
    residuals = _control_residuals(embeddings, design)
    return residuals.T @ residuals / max(len(residuals) - len(design.batch_names), 1)


def shrunk_covariance(residuals: Float[np.ndarray, "control feature"]) -> Square:
    """Returns the covariance of centred rows, shrunk towards a multiple of the identity as far as the rows are few.

    Source: Ledoit and Wolf (2004), J Multivar Anal 88:365, section 3.3 (their m, d^2, b^2).
    """
    n_rows, n_features = residuals.shape
    sample = residuals.T @ residuals / n_rows
    scale = np.trace(sample) / n_features
    distance = ((sample - scale * np.eye(n_features)) ** 2).sum()
    if distance <= 1e-24:
        return sample
    norms = (residuals**2).sum(axis=1)
    noise = ((norms**2).sum() / n_rows - (sample**2).sum()) / n_rows
    weight = min(max(noise, 0.0), distance) / distance
    return weight * scale * np.eye(n_features) + (1.0 - weight) * sample


def symmetric_power(matrix: Square, exponent: float) -> Square:
    """Returns a symmetric positive definite matrix to a power, by its eigenvalues (30 times a general power)."""
    values, axes = np.linalg.eigh(matrix)
    return (axes * np.maximum(values, 1e-12) ** exponent) @ axes.T


def _control_residuals(embeddings: Wells, design: BatchDesign) -> Float[np.ndarray, "control feature"]:
    residuals = embeddings[design.is_control].astype(np.float64)
    index = design.batch_index[design.is_control]
    for batch in range(len(design.batch_names)):
        residuals[index == batch] -= residuals[index == batch].mean(axis=0)
    return residuals


def _batches(design: BatchDesign) -> Iterator[Int[np.ndarray, "member"]]:
    for batch in range(len(design.batch_names)):
        yield np.flatnonzero(design.batch_index == batch)
