"""Features of objects that follow from moments of their pixels: axes, eccentricity, normalised and Hu moments.

The values equal those of cp_measure and scikit-image to rounding.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

N_ORDERS = 4
Moments = Float[np.ndarray, "object 4 4"]


def moment_features(stack: Bool[np.ndarray, "object y x"]) -> dict[str, Float[np.ndarray, "object"]]:
    """Returns axes and eccentricity of the ellipse with the same second moments, normalised moments and Hu's moments.

    Args:
        stack: one mask per object.

    Source: Hu (1962), IRE Trans. Inf. Theory 8:179; Burger and Burge, Principles of Digital Image Processing: Core
        Algorithms, section 2.4.3.
    """
    central = _central_moments(stack.astype(np.float64))
    size = central[:, 0, 0]
    normalised = _normalised_moments(central)
    half_trace = (central[:, 2, 0] / size + central[:, 0, 2] / size) / 2
    half_difference = (central[:, 0, 2] / size - central[:, 2, 0] / size) / 2
    radius = np.sqrt(half_difference**2 + (central[:, 1, 1] / size) ** 2)
    major, minor = (np.clip(half_trace + sign * radius, 0.0, None) for sign in (1, -1))
    ratio = np.divide(minor, major, out=np.ones_like(major), where=major > 0)
    return {
        "MajorAxisLength": 4 * np.sqrt(major),
        "MinorAxisLength": 4 * np.sqrt(minor),
        "Eccentricity": np.sqrt(1 - ratio),
        **{f"NormalizedMoment_{p}_{q}": normalised[:, p, q] for p in range(N_ORDERS) for q in range(N_ORDERS)},
        **{f"HuMoment_{number}": values for number, values in enumerate(_hu_moments(normalised))},
        "InertiaTensorEigenvalues_0": major,
        "InertiaTensorEigenvalues_1": minor,
    }


def _powers(x: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 4"]:
    return np.stack([np.ones_like(x), x, x * x, x * x * x], axis=-1)


def _central_moments(masks: Float[np.ndarray, "object y x"]) -> Moments:
    rows, columns = (np.arange(length, dtype=float) for length in masks.shape[1:])
    size = masks.sum(axis=(1, 2))
    centre_row, centre_column = masks.sum(axis=2) @ rows / size, masks.sum(axis=1) @ columns / size
    along_columns = masks @ _powers(columns - centre_column[:, None])
    return _powers(rows - centre_row[:, None]).transpose(0, 2, 1) @ along_columns


def _normalised_moments(central: Moments) -> Moments:
    """Central moments that size does not change; NaN below the second order."""
    normalised = np.full_like(central, np.nan)
    for p in range(N_ORDERS):
        for q in range(N_ORDERS):
            if p + q >= 2:
                normalised[:, p, q] = central[:, p, q] / central[:, 0, 0] ** ((p + q) / 2 + 1)
    return normalised


def _hu_moments(nu: Moments) -> list[Any]:
    """Hu's seven invariants, in his numbering."""
    n20, n02, n11 = nu[:, 2, 0], nu[:, 0, 2], nu[:, 1, 1]
    n30, n03, n21, n12 = nu[:, 3, 0], nu[:, 0, 3], nu[:, 2, 1], nu[:, 1, 2]
    a, b = n30 + n12, n21 + n03
    c, d = n30 - 3 * n12, 3 * n21 - n03
    return [
        n20 + n02,
        (n20 - n02) ** 2 + 4 * n11**2,
        c**2 + d**2,
        a**2 + b**2,
        c * a * (a**2 - 3 * b**2) + d * b * (3 * a**2 - b**2),
        (n20 - n02) * (a**2 - b**2) + 4 * n11 * a * b,
        d * a * (a**2 - 3 * b**2) - c * b * (3 * a**2 - b**2),
    ]
