"""Areas of convex hulls of objects, in exact integer arithmetic.

A pixel stands for the four midpoints of its edges, as in scikit-image's `convex_hull_image`; the area is the number of
pixel centres inside the hull or on its border. All coordinates are doubled, so that midpoints are integers.
"""

import numpy as np
from jaxtyping import Bool, Int

Point = tuple[int, int]


def convex_area(stack: Bool[np.ndarray, "object y x"], sides: Int[np.ndarray, "object 2"]) -> Int[np.ndarray, "object"]:
    """Returns the number of pixels of each object's convex hull.

    Args:
        stack: one mask per object.
        sides: height and width of the bounding box of each object, whose first pixel is the mask's.
    """
    width = stack.shape[2]
    is_used = np.asarray(stack.any(axis=2))
    first = stack.argmax(axis=2)
    last = width - 1 - stack[:, :, ::-1].argmax(axis=2)
    areas = []
    for place, height in enumerate(sides[:, 0].tolist()):
        rows = np.flatnonzero(is_used[place]).tolist()
        left = _bounds(rows, first[place].tolist(), height)
        right = _bounds(rows, (-last[place]).tolist(), height)
        areas.append(sum(1 - a - b for a, b in zip(left, right, strict=True)))
    return np.array(areas)


def _bounds(rows: list[int], extents: list[int], height: int) -> list[int]:
    """The smallest column inside the hull in each row, from the smallest column of the object in each used row."""
    hull = _lower_hull(_edge_points(rows, extents))
    bounds, edge = [], 0
    for row in range(height):
        while hull[edge + 1][0] < 2 * row:
            edge += 1
        (y0, x0), (y1, x1) = hull[edge], hull[edge + 1]
        numerator, denominator = x0 * (y1 - y0) + (x1 - x0) * (2 * row - y0), 2 * (y1 - y0)
        bounds.append(-(-numerator // denominator))
    return bounds


def _edge_points(rows: list[int], extents: list[int]) -> list[Point]:
    """The outermost midpoints (doubled row, doubled column) by row."""
    outermost: dict[int, int] = {}
    for row in rows:
        column = 2 * extents[row]
        outermost[2 * row - 1] = min(outermost.get(2 * row - 1, column), column)
        outermost[2 * row] = column - 1
        outermost[2 * row + 1] = column
    return list(outermost.items())


def _lower_hull(points: list[Point]) -> list[Point]:
    """The lower convex hull of points that are sorted by row. Source: Andrew (1979), Inf. Process. Lett. 9:216."""
    hull: list[Point] = []
    for y, x in points:
        while len(hull) > 1:
            (y0, x0), (y1, x1) = hull[-2], hull[-1]
            if (x1 - x0) * (y - y0) < (x - x0) * (y1 - y0):
                break
            hull.pop()
        hull.append((y, x))
    return hull
