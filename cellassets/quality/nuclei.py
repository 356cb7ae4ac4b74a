"""Nuclei in an image of a DNA stain: where they are, and which pixels belong to each.

The code uses scikit-image. Plate quality and classical features share this definition.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int32, Integer, UInt

SIGMA_FRAC = 0.2
MIN_CONTRAST_STD = 3.0
DIAMETER_FRAC = 1 / 12


@dataclass(frozen=True)
class Nuclei:
    """Nuclei, and what they were found in.

    Attributes:
        centres: row and column of each nucleus.
        smooth: the smoothed image.
        threshold: the grey level of the smoothed image above which a pixel can belong to a nucleus.
    """

    centres: Integer[np.ndarray, "nucleus 2"]
    smooth: Float[np.ndarray, "y x"]
    threshold: float


def usual_diameter(image: UInt[np.ndarray, "y x"]) -> float:
    """Returns the diameter to assume if none is given, in pixels: a twelfth of the shorter side of the image."""
    return min(image.shape) * DIAMETER_FRAC


def find_nuclei(image: UInt[np.ndarray, "y x"], diameter_px: float) -> Nuclei:
    """Returns the nuclei of an image of a DNA stain.

    The image is smoothed by a fifth of a nucleus. A nucleus is a maximum of the smoothed image that is above Otsu's
    threshold; two nuclei are at least half a nucleus apart. If the pixels above the threshold are not much brighter
    than the noise below it, there are no nuclei.

    Args:
        image: grey levels.
        diameter_px: diameter of a typical nucleus.

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
    """Returns one number per pixel: 0 outside nuclei, and the number of the nucleus, from 1 on, inside.

    A watershed from the centres of the nuclei separates those that touch.

    Args:
        image: grey levels.
        diameter_px: diameter of a typical nucleus.
    """
    from skimage.segmentation import watershed

    nuclei = find_nuclei(image, diameter_px)
    markers = np.zeros(image.shape, dtype=np.int32)
    markers[tuple(nuclei.centres.T)] = np.arange(1, len(nuclei.centres) + 1)
    labels = watershed(-nuclei.smooth, markers, mask=nuclei.smooth > nuclei.threshold)
    return labels.astype(np.int32)
