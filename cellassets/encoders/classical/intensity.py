"""Intensity features of objects, from one histogram of grey levels per object.

Grey levels are 8-bit integers, so order statistics, sums and variances follow exactly from a histogram. The values
equal those of `cp_measure.core.measureobjectintensity.get_intensity` without edge measurements, to rounding.
"""

import numpy as np
from jaxtyping import Float, Int, UInt8

from cellassets.encoders.classical.objects import Objects

N_LEVELS = 256
WHITE = N_LEVELS - 1


def intensity_features(objects: Objects, image: UInt8[np.ndarray, "y x"]) -> dict[str, Float[np.ndarray, "object"]]:
    """Returns intensity features per object by name, in units of the brightest grey level (0 to 1).

    The mass displacement, in pixels, is the distance between the centre of the object and its centre of intensity. It
    is not finite for an object that is black.

    Args:
        objects: the objects.
        image: grey levels, 0 to 255.

    Source: CellProfiler's MeasureObjectIntensity; Carpenter et al. (2006), Genome Biology 7:R100.
    """
    grey = image.ravel()[objects.pixels].astype(np.intp)
    n = objects.n_objects
    histogram = np.bincount(objects.owner * N_LEVELS + grey, minlength=n * N_LEVELS).reshape(n, N_LEVELS)
    levels = np.arange(N_LEVELS)
    total, squares = histogram @ levels, histogram @ levels**2
    areas = objects.areas
    variance = areas * squares - total**2  # exact integers: no cancellation
    lowest, lower, median, upper, highest = _quantiles(histogram, (0.0, 0.25, 0.5, 0.75, 1.0))
    return {
        "Intensity_IntegratedIntensity": total / WHITE,
        "Intensity_MeanIntensity": total / (areas * WHITE),
        "Intensity_StdIntensity": np.sqrt(variance) / (areas * WHITE),
        "Intensity_MinIntensity": lowest / WHITE,
        "Intensity_MaxIntensity": highest / WHITE,
        "Intensity_MassDisplacement": _mass_displacement(objects, grey, total),
        "Intensity_LowerQuartileIntensity": lower / WHITE,
        "Intensity_MedianIntensity": median / WHITE,
        "Intensity_MADIntensity": _median_deviation(histogram, median) / WHITE,
        "Intensity_UpperQuartileIntensity": upper / WHITE,
    }


def _quantiles(
    histogram: Int[np.ndarray, "object bin"], fractions: tuple[float, ...]
) -> Float[np.ndarray, "fraction object"]:
    """Quantiles in bins, by linear interpolation between ranks."""
    n, n_bins = histogram.shape
    cumulative = np.cumsum(histogram)
    ends = cumulative[n_bins - 1 :: n_bins]
    starts = np.concatenate([[0], ends[:-1]])
    position = np.array(fractions)[:, None] * (ends - starts - 1)
    rank = position.astype(np.intp)
    weight = position - rank
    # ranks run over all objects, so that one search serves them all
    found = (np.searchsorted(cumulative, np.minimum(starts + rank + step, ends - 1), side="right") for step in (0, 1))
    below, above = (place - np.arange(n) * n_bins for place in found)
    return below * (1 - weight) + above * weight


def _median_deviation(
    histogram: Int[np.ndarray, "object level"], median: Float[np.ndarray, "object"]
) -> Float[np.ndarray, "object"]:
    """The median absolute deviation, in grey levels. Deviations are whole numbers of half grey levels."""
    n, n_bins = len(histogram), 2 * N_LEVELS
    doubled = np.rint(2 * median).astype(np.intp)
    deviation = np.abs(2 * np.arange(N_LEVELS) - doubled[:, None])
    bins = np.arange(n)[:, None] * n_bins + deviation
    counts = np.bincount(bins.ravel(), weights=histogram.ravel(), minlength=n * n_bins)
    return _quantiles(counts.astype(np.intp).reshape(n, n_bins), (0.5,))[0] / 2


def _mass_displacement(
    objects: Objects, grey: Int[np.ndarray, "pixel"], total: Int[np.ndarray, "object"]
) -> Float[np.ndarray, "object"]:
    squared = np.zeros(objects.n_objects)
    for coordinates in objects.coordinates:
        plain = np.add.reduceat(coordinates, objects.starts)
        weighted = np.add.reduceat(coordinates * grey, objects.starts)
        squared += ((weighted * objects.areas - plain * total) / (total * objects.areas)) ** 2
    return np.sqrt(squared)
