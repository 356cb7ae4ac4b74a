"""The measures of plate quality by the plain calls of numpy and scikit-image: what bench/quality.py compares with.

These were the project's own until it measured on integers and by transforms in single precision.
"""

import numpy as np
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu

from cellassets.quality.measures import N_SPECTRUM_BINS, N_TILES, SPECTRUM_RANGE


def reference_site(images: np.ndarray, *, nucleus_channel: int, nucleus_diameter_px: float) -> dict[str, float]:
    """Returns focus, saturation, background, illumination and number of nuclei of one site."""
    nuclei, pixels = images[nucleus_channel], images.reshape(len(images), -1)
    return {
        "focus": power_slope(nuclei),
        "saturation_frac": float((pixels == np.iinfo(images.dtype).max).mean(axis=1).max()),
        "background": float(np.percentile(pixels, 5, axis=1).mean()),
        "illumination": float(np.mean([illumination_cv(image) for image in images])),
        "n_nuclei": len(centres(nuclei, nucleus_diameter_px)),
    }


def power_slope(image: np.ndarray) -> float:
    """Returns the slope of log power over log frequency."""
    pixels = image.astype(np.float32)
    pixels -= pixels.mean()
    height, width = pixels.shape
    pixels *= np.hanning(height)[:, None].astype(np.float32) * np.hanning(width)[None].astype(np.float32)
    power = np.abs(np.fft.rfft2(pixels)) ** 2
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    edges = np.geomspace(*SPECTRUM_RANGE, N_SPECTRUM_BINS + 1)
    ring = np.searchsorted(edges, frequency, side="right") - 1
    ring[(ring < 0) | (ring >= N_SPECTRUM_BINS)] = N_SPECTRUM_BINS
    totals = np.bincount(ring.ravel(), power.ravel(), minlength=N_SPECTRUM_BINS + 1)[:N_SPECTRUM_BINS]
    counts = np.bincount(ring.ravel(), minlength=N_SPECTRUM_BINS + 1)[:N_SPECTRUM_BINS]
    log_frequency = (np.log(edges[1:]) + np.log(edges[:-1])) / 2
    return float(np.polyfit(log_frequency, np.log(totals / counts), 1)[0])


def illumination_cv(image: np.ndarray) -> float:
    """Returns the coefficient of variation of the 20th percentile in each of 8 x 8 tiles."""
    height, width = (side - side % N_TILES for side in image.shape)
    tiles = image[:height, :width].reshape(N_TILES, height // N_TILES, N_TILES, width // N_TILES)
    field = np.percentile(tiles.transpose(0, 2, 1, 3).reshape(N_TILES, N_TILES, -1), 20, axis=2)
    return float(field.std() / max(field.mean(), 1.0))


def centres(image: np.ndarray, diameter_px: float) -> np.ndarray:
    """Returns row and column of each nucleus."""
    smooth = gaussian(image.astype(np.float32), 0.2 * diameter_px, preserve_range=True)
    threshold = float(threshold_otsu(smooth))
    dark, bright = smooth[smooth <= threshold], smooth[smooth > threshold]
    if bright.mean() - dark.mean() < 3 * dark.std():
        return np.empty((0, 2), dtype=np.int64)
    distance = max(1, round(diameter_px / 2))
    return peak_local_max(smooth, min_distance=distance, threshold_abs=threshold, exclude_border=False)
