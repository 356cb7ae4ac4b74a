"""The pyramid of an image: the same pixels at half the size, a quarter of it, and so on, for fast display."""

import numpy as np
from jaxtyping import UInt

REDUCTION = 2
SMALL_ENOUGH = 256  # pixels; viewers show such a level at once


def pyramid(images: UInt[np.ndarray, "channel y x"]) -> list[UInt[np.ndarray, "channel _ _"]]:
    """Returns an image at full size, then at half of the size before until its shorter side is below 256 pixels."""
    levels = [images]
    while min(levels[-1].shape[1:]) >= SMALL_ENOUGH:
        levels.append(halved(levels[-1]))
    return levels


def halved(images: UInt[np.ndarray, "channel y x"]) -> UInt[np.ndarray, "channel half_y half_x"]:
    """Returns the rounded mean of every block of 2 x 2 pixels; 0.5 is rounded up.

    A block at the edge of an odd side has 2 pixels or 1, and the mean is taken over these. So 5 x 5 pixels give 3 x 3.
    """
    _, height, width = images.shape
    even = np.pad(images, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")  # a pixel twice has the same mean
    total = even[:, ::2, ::2].astype(np.uint32)  # four 16-bit pixels do not fit into 16 bits
    for y, x in ((1, 0), (0, 1), (1, 1)):
        total += even[:, y::2, x::2]
    return ((total + 2) >> 2).astype(images.dtype)
