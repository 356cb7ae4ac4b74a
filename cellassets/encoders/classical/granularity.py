"""Granularity spectra of whole images, for all channels of a site at once.

The values equal those of `cp_measure.core.measuregranularity.get_granularity` on one object that covers the image, to
rounding. Erosion and reconstruction only ever pick values that are in the image, so both run on small integer ranks of
the values, and all channels take each step together.

Source: Serra (1982), Image Analysis and Mathematical Morphology; CellProfiler's MeasureGranularity.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Shaped

BACKGROUND_RADIUS_PX = 10
SUBSAMPLING = 0.5
MAX_DILATIONS = 256  # beyond it a queue is faster than repeated dilation
DILATIONS_PER_CHECK = 4
Ranks = Shaped[np.ndarray, "channel y x"]


def granularity_spectrum(
    images: Float[np.ndarray, "channel y x"], spectrum_length: int
) -> Float[np.ndarray, "channel step"]:
    """Returns how much of each image's mean vanishes at each step of opening, in percent of the mean.

    Images are sampled at every second pixel, and their background (an opening by a disk of 10 samples, taken at every
    second sample) is subtracted. Then each step erodes by a disk of radius 1 and reconstructs what is left.

    Args:
        images: pixel values.
        spectrum_length: number of steps.
    """
    shape = np.array(images.shape[1:])
    sampled = (shape * SUBSAMPLING).astype(int)
    if (sampled < 2).any():
        return np.full((len(images), spectrum_length), np.nan)
    sharp = _without_background(images[:, ::2, ::2][:, : sampled[0], : sampled[1]])
    rows, columns = (_sampling(int(full), float(small), int(small)) for full, small in zip(shape, sampled, strict=True))
    row_weights, column_weights = rows.sum(axis=0), columns.sum(axis=0)
    values, mask = np.unique(sharp, return_inverse=True)
    mask = mask.reshape(sharp.shape).astype(np.uint16 if len(values) <= 1 << 16 else np.uint32)
    mean = images.mean(axis=(1, 2))
    start = np.maximum(mean, np.finfo(float).eps)
    eroded, spectrum = mask, []
    for _ in range(spectrum_length):
        eroded = _eroded(eroded)
        mask = _reconstructed(eroded, mask)
        mean, before = values[mask] @ column_weights @ row_weights / shape.prod(), mean
        spectrum.append((before - mean) * 100 / start)
    return np.stack(spectrum, axis=1)


def _without_background(images: Float[np.ndarray, "channel y x"]) -> Float[np.ndarray, "channel y x"]:
    shape = images.shape[1:]
    small = images[:, ::2, ::2]
    opened = -_disk_minimum(-_disk_minimum(small))
    rows, columns = (_sampling(n, n * SUBSAMPLING, k) for n, k in zip(shape, small.shape[1:], strict=True))
    return np.maximum(images - rows @ opened @ columns.T, 0)


@lru_cache(maxsize=64)
def _sampling(n_out: int, extent: float, n_in: int) -> Float[np.ndarray, "out in"]:
    """The matrix that stretches `n_in` samples to `n_out` points by linear interpolation.

    The points end at sample `extent` - 1. A last point that lies a rounding error beyond the last sample is 0, as in
    scipy's `map_coordinates`, which CellProfiler uses.
    """
    position = np.arange(n_out, dtype=float) * ((extent - 1) / (n_out - 1))
    below = np.floor(position).astype(int)
    weight = position - below
    matrix = np.zeros((n_out, n_in))
    is_inside = position <= n_in - 1
    point = np.flatnonzero(is_inside)
    matrix[point, below[point]] = 1 - weight[point]
    above = np.minimum(below[point] + 1, n_in - 1)
    np.add.at(matrix, (point, above), weight[point])
    return matrix


def _disk_minimum(images: Float[np.ndarray, "channel y x"]) -> Float[np.ndarray, "channel y x"]:
    """The minimum over a disk around each pixel, of what of the disk is in the image."""
    radius = BACKGROUND_RADIUS_PX
    half_widths = [int(np.sqrt(radius**2 - down**2)) for down in range(radius + 1)]
    along_row, runs = images.copy(), {0: images}
    for width in range(1, min(radius, images.shape[2] - 1) + 1):
        np.minimum(along_row[:, :, width:], images[:, :, :-width], out=along_row[:, :, width:])
        np.minimum(along_row[:, :, :-width], images[:, :, width:], out=along_row[:, :, :-width])
        runs[width] = along_row.copy()
    smallest = runs[max(runs)].copy()
    for down in range(1, min(radius, images.shape[1] - 1) + 1):
        run = runs[min(half_widths[down], max(runs))]
        np.minimum(smallest[:, down:], run[:, :-down], out=smallest[:, down:])
        np.minimum(smallest[:, :-down], run[:, down:], out=smallest[:, :-down])
    return smallest


def _eroded(image: Ranks) -> Ranks:
    """The minimum of each pixel and its four neighbours."""
    eroded = image.copy()
    for here, there in _NEIGHBOURS:
        np.minimum(eroded[here], image[there], out=eroded[here])
    return eroded


def _reconstructed(seed: Ranks, mask: Ranks) -> Ranks:
    """The seed after dilation under the mask by four neighbours until nothing changes.

    A border of zeros around each row keeps rows and channels apart, so that a dilation is three operations on flat
    arrays. Measured on 6 x 48 x 48 values: 6 times as fast as on the three-dimensional arrays.
    """
    grown, limit = _flat(seed), _flat(mask)
    spare, width = np.empty_like(grown), mask.shape[2] + 1
    for _ in range(MAX_DILATIONS // DILATIONS_PER_CHECK):
        before = grown.copy()
        for _ in range(DILATIONS_PER_CHECK):
            for step in (1, width):
                larger = np.maximum(grown[:-step], grown[step:], out=spare[:-step])
                np.maximum(larger[:-step], larger[step:], out=grown[step:-step])
                np.minimum(grown, limit, out=grown)
        if np.array_equal(grown, before):
            return _unflat(grown, mask.shape)
    return _reconstructed_by_queue(_unflat(grown, mask.shape), mask)


def _flat(ranks: Ranks) -> Shaped[np.ndarray, "place"]:
    """All values in one row, with a zero after each image row and a row of zeros before and after each channel."""
    padded = np.pad(ranks, ((0, 0), (0, 1), (0, 1))).ravel()
    return np.concatenate([np.zeros(ranks.shape[2] + 1, dtype=ranks.dtype), padded])


def _unflat(flat: Shaped[np.ndarray, "place"], shape: tuple[int, ...]) -> Ranks:
    n_channels, height, width = shape
    return flat[width + 1 :].reshape(n_channels, height + 1, width + 1)[:, :height, :width]


def _reconstructed_by_queue(seed: Ranks, mask: Ranks) -> Ranks:
    from skimage.morphology import disk, reconstruction

    finished = [
        reconstruction(a.astype(float), b.astype(float), footprint=disk(1)) for a, b in zip(seed, mask, strict=True)
    ]
    return np.stack(finished).astype(mask.dtype)


_ALL, _HEAD, _TAIL = slice(None), slice(None, -1), slice(1, None)
_NEIGHBOURS = (
    ((_ALL, _TAIL, _ALL), (_ALL, _HEAD, _ALL)),
    ((_ALL, _HEAD, _ALL), (_ALL, _TAIL, _ALL)),
    ((_ALL, _ALL, _TAIL), (_ALL, _ALL, _HEAD)),
    ((_ALL, _ALL, _HEAD), (_ALL, _ALL, _TAIL)),
)
