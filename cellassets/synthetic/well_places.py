"""Where simulated wells are on their plates, and what places do to them.

Effects of a place are either the same on every plate (a slope along rows and columns, an outer ring), or a smooth
random field that every plate has of its own.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from cellassets.errors import ConfigError
from cellassets.screens.well import row_letters

N_COLUMNS, N_ROWS = 24, 16

Layout = Literal["in_order", "fixed", "new"]


def places_of_slots(sizes: Sequence[int], width: int, rng: np.random.Generator) -> Int[np.ndarray, "well"]:
    """Returns the place of each well: a plate is cut into slots of neighbouring wells, which are filled at random.

    Args:
        sizes: number of wells in each slot, at most `width`.
        width: wells per slot.
        rng: source of the order of the slots.

    Raises:
        ConfigError: the plate has fewer slots.
    """
    n_slots = N_ROWS * N_COLUMNS // width
    if len(sizes) > n_slots:
        message = (
            f"a simulated plate of {N_ROWS} x {N_COLUMNS} wells has {n_slots} slots of {width}, and {len(sizes)} "
            "treatments and controls are to be on it; simulate fewer"
        )
        raise ConfigError(message)
    slot = rng.permutation(n_slots)[: len(sizes)]
    return np.concatenate([number * width + np.arange(size) for number, size in zip(slot, sizes, strict=True)])


def smooth_field(length: float, n_features: int, rng: np.random.Generator) -> Float[np.ndarray, "place feature"]:
    """Returns a Gaussian random field over a plate of 16 x 24 wells: white noise, smoothed by a Gaussian of two wells.

    Args:
        length: root mean square length of the vectors of the places.
        n_features: number of features; each is a field of its own.
        rng: source of the noise.
    """
    from scipy.ndimage import gaussian_filter

    noise = rng.standard_normal((N_ROWS, N_COLUMNS, n_features))
    field = gaussian_filter(noise, sigma=(2.0, 2.0, 0.0), mode="wrap")
    return (length / np.sqrt(n_features) * field / np.sqrt((field**2).mean())).reshape(-1, n_features)


def steady_effects(directions: Float[np.ndarray, "3 feature"]) -> Float[np.ndarray, "place feature"]:
    """Returns the effect of each place on every plate: a slope along rows and columns, and an outer ring.

    Args:
        directions: what a step along the rows, a step along the columns, and the ring do to the features.
    """
    place = np.arange(N_ROWS * N_COLUMNS)
    row, column = place // N_COLUMNS, place % N_COLUMNS
    is_outer = (row == 0) | (row == N_ROWS - 1) | (column == 0) | (column == N_COLUMNS - 1)
    return np.stack([row / (N_ROWS - 1) - 0.5, column / (N_COLUMNS - 1) - 0.5, is_outer], axis=1) @ directions


def well_name(place: int) -> str:
    """Returns the name of a well by its 0-based number on a plate of 24 columns, counted row by row."""
    row, column = divmod(place, N_COLUMNS)
    return f"{row_letters(row)}{column + 1:02d}"
