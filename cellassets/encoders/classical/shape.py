"""Size and shape features of objects, for many objects at once.

The values equal those of `cp_measure.core.measureobjectsizeshape.get_sizeshape`, which takes them from scikit-image,
to rounding. Position and direction of an object are not used as features, so bounding boxes, centres,
orientation, raw and central moments are left out.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from cellassets.encoders.classical.convexity import convex_area
from cellassets.encoders.classical.moments import moment_features
from cellassets.encoders.classical.objects import Objects

MAX_PIXELS = 1 << 22  # of a stack of objects, bounding boxes padded to the largest
# Source: Benkrid and Crookes, Design and FPGA implementation of a perimeter estimator
PERIMETER_WEIGHTS = np.zeros(50)
PERIMETER_WEIGHTS[[5, 7, 15, 17, 25, 27]] = 1
PERIMETER_WEIGHTS[[21, 33]] = np.sqrt(2)
PERIMETER_WEIGHTS[[13, 23]] = (1 + np.sqrt(2)) / 2
# of the 16 kinds of 2 x 2 squares; Source: Ohser et al. (2002), The Euler number of discretized sets
EULER_WEIGHTS = np.array([0.0, 0, 0, 0, 0, 0, -1, 0, 1, 0, 0, 0, 0, 0, -1, 0])
# by Crofton's formula in four directions; Source: Rivollier (2010), tel-00560838
_STRAIGHT, _DIAGONAL = np.pi / 4, np.pi / (4 * np.sqrt(2))
_BOTH = _STRAIGHT + _DIAGONAL
_CODES_0_TO_7 = [0, _BOTH, _DIAGONAL, 2 * _DIAGONAL, 0, _BOTH, 0, _DIAGONAL]
_CODES_8_TO_15 = [_STRAIGHT, 2 * _STRAIGHT, _DIAGONAL, _DIAGONAL, _STRAIGHT, 2 * _STRAIGHT, 0, 0]
CROFTON_WEIGHTS = np.array([*_CODES_0_TO_7, *_CODES_8_TO_15])
Stack = Bool[np.ndarray, "object y x"]
PaddedStack = UInt8[np.ndarray, "object y x"]


def shape_features(objects: Objects) -> dict[str, Float[np.ndarray, "object"]]:
    """Returns size and shape features per object by name, lengths and areas in pixels.

    The form factor of an object without a perimeter (a single pixel) is not finite.
    """
    from scipy.ndimage import find_objects

    boxes = find_objects(objects.labels)
    sides = np.array([[side.stop - side.start for side in box] for box in boxes])
    measured: dict[str, np.ndarray] = {}
    for members in _batches(sides):
        stack = np.zeros((len(members), *sides[members].max(axis=0)), dtype=bool)
        for place, member in enumerate(members):
            height, width = sides[member]
            stack[place, :height, :width] = objects.labels[boxes[member]] == member + 1
        for name, values in _of_stack(stack, sides[members]).items():
            measured.setdefault(name, np.empty(len(boxes)))[members] = values
    return measured


def _batches(sides: Int[np.ndarray, "object 2"]) -> Iterator[Int[np.ndarray, "member"]]:
    """Objects that are measured together: all, or similar ones where one of them is large."""
    waiting = [np.argsort(sides.prod(axis=1), kind="stable")]
    while waiting:
        members = waiting.pop()
        if len(members) == 1 or len(members) * sides[members].max(axis=0).prod() <= MAX_PIXELS:
            yield members
        else:
            waiting += np.array_split(members, 2)


def _of_stack(stack: Stack, sides: Int[np.ndarray, "object 2"]) -> dict[str, Float[np.ndarray, "object"]]:
    padded = np.pad(stack, ((0, 0), (1, 1), (1, 1))).astype(np.uint8)
    area = stack.sum(axis=(1, 2))
    convex = convex_area(stack, sides)
    perimeter = _perimeter(padded)
    squares = _squares(padded)
    moments = moment_features(stack)
    return {
        "Area": area.astype(np.float64),
        "ConvexArea": convex.astype(np.float64),
        "EquivalentDiameter": np.sqrt(4 * area / np.pi),
        "Perimeter": perimeter,
        "MajorAxisLength": moments.pop("MajorAxisLength"),
        "MinorAxisLength": moments.pop("MinorAxisLength"),
        "Eccentricity": moments.pop("Eccentricity"),
        "FormFactor": 4.0 * np.pi * area / perimeter**2,
        "Extent": area / sides.prod(axis=1),
        "Solidity": area / convex,
        "Compactness": perimeter**2 / np.maximum(4.0 * np.pi * area, 1),
        "EulerNumber": squares @ EULER_WEIGHTS,
        **_radii(padded, area),
        "FilledArea": _filled_area(padded).astype(np.float64),
        **moments,
        "PerimeterCrofton": squares @ CROFTON_WEIGHTS,
    }


def _perimeter(padded: PaddedStack) -> Float[np.ndarray, "object"]:
    """The perimeter by what surrounds each border pixel: 2 per neighbour on the border, 10 per diagonal one."""
    middle = slice(1, -1)
    up, down = padded[:, :-2, middle], padded[:, 2:, middle]
    left, right = padded[:, middle, :-2], padded[:, middle, 2:]
    border = padded.copy()
    border[:, middle, middle] -= padded[:, middle, middle] & up & down & left & right
    rows = border[:, :-2] + border[:, 2:]
    columns = border[:, middle, :-2] + border[:, middle, 2:]
    codes = border[:, middle, middle] + 2 * (rows[:, :, middle] + columns) + 10 * (rows[:, :, :-2] + rows[:, :, 2:])
    return _histograms(codes, len(PERIMETER_WEIGHTS)) @ PERIMETER_WEIGHTS


def _squares(padded: PaddedStack) -> Int[np.ndarray, "object 16"]:
    """How many 2 x 2 squares of each kind each object has."""
    codes = padded[:, 1:, 1:] + 4 * padded[:, 1:, :-1] + 2 * padded[:, :-1, 1:] + 8 * padded[:, :-1, :-1]
    return _histograms(codes, len(EULER_WEIGHTS))


def _histograms(codes: UInt8[np.ndarray, "object y x"], n_codes: int) -> Int[np.ndarray, "object code"]:
    offsets = np.arange(len(codes)) * n_codes
    counts = np.bincount((codes + offsets[:, None, None]).ravel(), minlength=len(codes) * n_codes)
    return counts.reshape(len(codes), n_codes)


def _radii(padded: PaddedStack, area: Int[np.ndarray, "object"]) -> dict[str, Float[np.ndarray, "object"]]:
    """Maximum, mean and median distance to the nearest pixel outside the object."""
    from scipy.ndimage import distance_transform_edt

    # one image of all objects: the padding between two objects is nearer than anything beyond it
    tower = padded.reshape(-1, padded.shape[2])
    inside = padded.astype(bool)
    distance = distance_transform_edt(tower).reshape(padded.shape)[inside]
    owner = np.repeat(np.arange(len(area)), area)
    ordered = distance[np.lexsort((distance, owner))]
    start = np.cumsum(area) - area
    middle = ordered[start + (area - 1) // 2], ordered[start + area // 2]
    return {
        "MaximumRadius": ordered[start + area - 1],
        "MeanRadius": np.bincount(owner, weights=distance) / area,
        "MedianRadius": (middle[0] + middle[1]) / 2,
    }


def _filled_area(padded: PaddedStack) -> Int[np.ndarray, "object"]:
    """The area with holes: everything that is not connected, diagonals included, with the padding."""
    from scipy.ndimage import label

    within_object = np.zeros((3, 3, 3), dtype=bool)
    within_object[1] = True
    regions, _ = label(padded == 0, structure=within_object)
    outside = regions == regions[:, :1, :1]
    return padded.shape[1] * padded.shape[2] - outside.sum(axis=(1, 2))
