"""Arrays inside JSON documents: `{"dtype", "shape", "base64"}`, little-endian, rows first."""

import base64
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Shaped

Document = dict[str, Any]
SIGNIFICANT = 6


def encoded(array: Shaped[np.ndarray, "*any"]) -> Document:
    """Returns an array as a part of a document."""
    values = np.ascontiguousarray(array)
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return {
        "dtype": values.dtype.name,
        "shape": list(values.shape),
        "base64": base64.b64encode(little.tobytes()).decode(),
    }


def rounded(value: float | None) -> float | None:
    """Returns a number with six significant digits; None where it is missing or not finite."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{SIGNIFICANT}g}")


def rounded_list(values: Iterable[float | None]) -> list[float | None]:
    """Returns numbers with six significant digits; None for those that are missing or not finite."""
    return [rounded(value) for value in values]
