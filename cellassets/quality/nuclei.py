"""Nuclei in an image of a DNA stain: where they are, and which pixels belong to each.

scikit-image does the work; one definition serves plate quality and classical features.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32, Integer, UInt

SIGMA_FRAC = 0.2
MIN_CONTRAST_STD = 3.0
DIAMETER_FRAC = 1 / 12


@dataclass(frozen=True)
class Nuclei:
    """Centres of nuclei, and the smoothed image and threshold by which they were found."""

    centres: Integer[np.ndarray, "nucleus 2"]
    smooth: Float[np.ndarray, "y x"]
    threshold: float


def usual_diameter(image: UInt[np.ndarray, "y x"]) -> float:
    """Returns the diameter to expect where none is given: a twelfth of the shorter side, in pixels."""
    return min(image.shape) * DIAMETER_FRAC


def find_nuclei(image: UInt[np.ndarray, "y x"], diameter_px: float) -> Nuclei:
    """Returns the nuclei of an image of a DNA stain.

    Maxima of the image, smoothed by a fifth of a nucleus, that are at least half a nucleus apart and above Otsu's
    threshold. An image whose threshold does not stand out of the noise has none.

    Source: Otsu (1979), IEEE Trans. Syst. Man Cybern. 9:62.
    """
    from skimage.feature import peak_local_max
    from skimage.filters import gaussian, threshold_otsu

    smooth = gaussian(image.astype(np.float32), SIGMA_FRAC * diameter_px, preserve_range=True)
    nothing = np.empty((0, 2), dtype=np.int64)
    if smooth.max() - smooth.min() < 1:
        return Nuclei(nothing, smooth, float(smooth.max()))
    threshold = float(threshold_otsu(smooth))
    dark, bright = smooth[smooth <= threshold], smooth[smooth > threshold]
    if bright.mean() - dark.mean() < MIN_CONTRAST_STD * dark.std():
        return Nuclei(nothing, smooth, threshold)
    distance = max(1, round(diameter_px / 2))
    centres = peak_local_max(smooth, min_distance=distance, threshold_abs=threshold, exclude_border=False)
    return Nuclei(centres, smooth, threshold)


def segment_nuclei(image: UInt[np.ndarray, "y x"], diameter_px: float) -> Int32[np.ndarray, "y x"]:
    """Returns a number a pixel: 0 outside nuclei, from 1 on inside, by a watershed from the nuclei's centres."""
    from skimage.segmentation import watershed

    nuclei = find_nuclei(image, diameter_px)
    markers = np.zeros(image.shape, dtype=np.int32)
    markers[tuple(nuclei.centres.T)] = np.arange(1, len(nuclei.centres) + 1)
    labels = watershed(-nuclei.smooth, markers, mask=nuclei.smooth > nuclei.threshold)
    return labels.astype(np.int32)
