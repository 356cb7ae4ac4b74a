"""The illumination function as published pipelines of CellProfiler compute it, from the sum of all images.

Source: github.com/broadinstitute/imaging-platform-pipelines, cellpainting_a549_20x_phenix_bin1: images of 2,160 pixels
reduced to 216, a median filter of size 20, which is a disk of radius int(20 / 2.35 + 0.5), with the pixels of the image
only; the darkest 2% of pixels are raised to one level.
"""

import numpy as np

N_BLOCKS, RADIUS_OF_216 = 128, 9
ROBUST_FACTOR = 0.02


def published_function(total: np.ndarray) -> np.ndarray:
    """Returns the function of square images whose side is a multiple of 128, in blocks of pixels repeated."""
    size = total.shape[0] // N_BLOCKS
    reduced = total.reshape(N_BLOCKS, size, N_BLOCKS, size).mean(axis=(1, 3))
    radius = round(RADIUS_OF_216 * N_BLOCKS / 216)
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    padded = np.pad(reduced, radius, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1, 2 * radius + 1))
    smooth = np.nanmedian(windows[:, :, y**2 + x**2 <= radius**2], axis=2)
    smooth = np.maximum(smooth, np.sort(smooth, axis=None)[int(smooth.size * ROBUST_FACTOR)])
    return np.kron(smooth / smooth.min(), np.ones((size, size)))
