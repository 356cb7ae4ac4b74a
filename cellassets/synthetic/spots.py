"""Small round spots added to an image plane: nucleoli, Golgi vesicles, debris."""

import numpy as np
from jaxtyping import Float32, Float64

PerSpot = Float64[np.ndarray, " spot"]


def add_spots(plane: Float32[np.ndarray, "y x"], y: PerSpot, x: PerSpot, sigma: PerSpot, level: PerSpot) -> None:
    """Adds Gaussian spots to `plane` in place; parts outside the image are cut off.

    Args:
        plane: C-contiguous image.
        y: vertical positions of the centres in pixels.
        x: horizontal positions of the centres in pixels.
        sigma: standard deviations in pixels.
        level: heights of the peaks.
    """
    if not len(y):
        return
    reach = int(np.ceil(2.5 * sigma.max()))
    steps = np.arange(-reach, reach + 1)
    row, column = np.rint(y).astype(np.int64)[:, None] + steps, np.rint(x).astype(np.int64)[:, None] + steps
    profile_y = np.exp(-0.5 * ((row - y[:, None]) / sigma[:, None]) ** 2) * level[:, None]
    profile_x = np.exp(-0.5 * ((column - x[:, None]) / sigma[:, None]) ** 2)
    height, width = plane.shape
    # light outside the image is set to 0, and its index to a pixel inside the image
    profile_y *= (row >= 0) & (row < height)
    profile_x *= (column >= 0) & (column < width)
    place = row.clip(0, height - 1)[:, :, None] * width + column.clip(0, width - 1)[:, None, :]
    light = (profile_y[:, :, None] * profile_x[:, None, :]).astype(np.float32)
    np.add.at(plane.reshape(-1), place.ravel(), light.ravel())
