"""Input of the published statistics: one name for each vector, and at least one of them.

The references accept what numpy accepts. Here wrong input is a `BenchmarkError` that says what is wrong.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped

from cellassets.errors import BenchmarkError

Names = Sequence[object] | Shaped[np.ndarray, "_"]


def checked_names(where: str, names: Names, n_rows: int, *, what: str) -> Shaped[np.ndarray, "row"]:
    """Returns the names as an array.

    Args:
        where: the function that is called, for the message.
        names: a list or an array of names, numbers or other labels.
        n_rows: vectors that are named.
        what: what the names are, in the plural.

    Raises:
        BenchmarkError: there is no vector, there are more or fewer names than vectors, or a name is missing.
    """
    if n_rows == 0:
        message = f"{where}: there is no vector; expected one for each of the {what}"
        raise BenchmarkError(message)
    array = np.asarray(names)
    if array.ndim != 1 or len(array) != n_rows:
        message = f"{where}: {len(names)} {what} for {n_rows} vectors; expected one for each vector, in the same order"
        raise BenchmarkError(message)
    is_missing = np.zeros(n_rows, dtype=bool)
    if array.dtype.kind in "fO":  # only such arrays can lack a name
        is_missing = np.isnan(array) if array.dtype.kind == "f" else np.array([name is None for name in array])
    if is_missing.any():
        message = (
            f"{where}: row {int(np.argmax(is_missing))} has no name ({int(is_missing.sum())} of {n_rows} {what} are "
            "missing); name these rows, or leave them out"
        )
        raise BenchmarkError(message)
    return array
