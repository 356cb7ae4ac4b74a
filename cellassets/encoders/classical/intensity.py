"""Intensity features of objects, from the sorted grey levels of each object.

Order statistics are those of integers, so they are exact. The values equal those of
`cp_measure.core.measureobjectintensity.get_intensity` without edge measurements, to rounding.
"""

import numpy as np
from jaxtyping import Float, Int, UInt

from cellassets.encoders.classical.objects import Objects

LEVEL_BITS = 32  # of the place of a grey level in a sorted number: above it stands the object


def intensity_features(
    objects: Objects, image: UInt[np.ndarray, "y x"], *, white: int
) -> dict[str, Float[np.ndarray, "object"]]:
    """Returns intensity features per object by name, as fractions of the brightest grey level (0 to 1).

    The mass displacement, in pixels, is the distance between the centre of the object and its centre of intensity. It
    is not finite for an object that is black.

    Args:
        objects: the objects.
        image: grey levels.
        white: the brightest grey level of the scale.

    Source: CellProfiler's MeasureObjectIntensity; Carpenter et al. (2006), Genome Biology 7:R100.
    """
    grey = image.ravel()[objects.pixels].astype(np.int64)
    areas = objects.areas
    total = np.add.reduceat(grey, objects.starts)
    mean = total / areas
    variance = np.add.reduceat((grey - mean[objects.owner]) ** 2, objects.starts) / areas
    ordered = _sorted_within(objects, grey)
    lowest, lower, median, upper, highest = _quantiles(objects, ordered, (0.0, 0.25, 0.5, 0.75, 1.0))
    return {
        "Intensity_IntegratedIntensity": total / white,
        "Intensity_MeanIntensity": total / (areas * white),
        "Intensity_StdIntensity": np.sqrt(variance) / white,
        "Intensity_MinIntensity": lowest / white,
        "Intensity_MaxIntensity": highest / white,
        "Intensity_MassDisplacement": _mass_displacement(objects, grey, total),
        "Intensity_LowerQuartileIntensity": lower / white,
        "Intensity_MedianIntensity": median / white,
        "Intensity_MADIntensity": _median_deviation(objects, grey, median) / white,
        "Intensity_UpperQuartileIntensity": upper / white,
    }


def _sorted_within(objects: Objects, values: Int[np.ndarray, "pixel"]) -> Int[np.ndarray, "pixel"]:
    """The values of each object in ascending order, the objects in theirs."""
    ordered = np.sort((objects.owner << LEVEL_BITS) | values)
    return ordered & ((1 << LEVEL_BITS) - 1)


def _quantiles(
    objects: Objects, ordered: Int[np.ndarray, "pixel"], fractions: tuple[float, ...]
) -> Float[np.ndarray, "fraction object"]:
    """Quantiles by linear interpolation between ranks."""
    position = np.array(fractions)[:, None] * (objects.areas - 1)
    rank = position.astype(np.intp)
    weight = position - rank
    above = np.minimum(rank + 1, objects.areas - 1)
    return ordered[objects.starts + rank] * (1 - weight) + ordered[objects.starts + above] * weight


def _median_deviation(
    objects: Objects, grey: Int[np.ndarray, "pixel"], median: Float[np.ndarray, "object"]
) -> Float[np.ndarray, "object"]:
    """The median absolute deviation, in grey levels. Deviations are whole numbers of half grey levels."""
    doubled = np.rint(2 * median).astype(np.int64)
    deviation = np.abs(2 * grey - doubled[objects.owner])
    return _quantiles(objects, _sorted_within(objects, deviation), (0.5,))[0] / 2


def _mass_displacement(
    objects: Objects, grey: Int[np.ndarray, "pixel"], total: Int[np.ndarray, "object"]
) -> Float[np.ndarray, "object"]:
    squared = np.zeros(objects.n_objects)
    for coordinates in objects.coordinates:
        plain = np.add.reduceat(coordinates, objects.starts)
        weighted = np.add.reduceat(coordinates * grey, objects.starts)
        middle = plain // objects.areas  # whole numbers: nothing is lost where two large positions are subtracted
        squared += ((weighted - middle * total) / total - (plain - middle * objects.areas) / objects.areas) ** 2
    return np.sqrt(squared)
