"""Input of the published statistics: matrices of vectors, one name for each vector, counts, shares and places.

The references accept what numpy accepts. Here wrong input is a `BenchmarkError` that says what is wrong.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

import numpy as np
from jaxtyping import Bool, Shaped

from cellassets.errors import BenchmarkError

P = ParamSpec("P")
R = TypeVar("R")
Names = Sequence[object] | Shaped[np.ndarray, "_"]


def checked_names(where: str, names: Names, n_rows: int, *, what: str) -> Shaped[np.ndarray, "row"]:
    """Returns the names as an array.

    Args:
        where: the function that is called, for the message.
        names: a list or an array of names, numbers or other labels.
        n_rows: vectors that are named.
        what: what the names are, in the plural.

    Raises:
        BenchmarkError: there is no vector, there are more or fewer names than vectors, or a name is missing (None or
            NaN).
    """
    if n_rows == 0:
        message = f"{where}: there is no vector; expected one for each of the {what}"
        raise BenchmarkError(message)
    is_missing = _missing(names)  # before numpy writes a NaN among names as 'nan'
    array = np.asarray(names)
    if array.ndim != 1 or len(array) != n_rows:
        message = f"{where}: {len(names)} {what} for {n_rows} vectors; expected one for each vector, in the same order"
        raise BenchmarkError(message)
    if is_missing.any():
        message = (
            f"{where}: row {int(np.argmax(is_missing))} has no name ({int(is_missing.sum())} of {n_rows} {what} are "
            "missing); name these rows, or leave them out"
        )
        raise BenchmarkError(message)
    return array


def matrix_arguments(*names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Returns a decorator: the function refuses arguments that are not matrices of vectors (`require_matrices`).

    Args:
        names: the arguments that are matrices.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        arguments = signature(function)

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            given: dict[str, Any] = arguments.bind(*args, **kwargs).arguments
            require_matrices(function.__name__, **{name: given[name] for name in names})
            return function(*args, **kwargs)

        return checked

    return decorate


def require_matrices(where: str, **matrices: Any) -> None:
    """Returns nothing if all are arrays of real numbers, rows x features, with the same number of features.

    Args:
        where: the function that is called, for the message.
        matrices: the arrays, by the names of the arguments.

    Raises:
        BenchmarkError: one is not an array of numbers, has masked values, has no features or another number of
            dimensions than 2, or two have different numbers of features.
    """
    n_features: dict[str, int] = {}
    for name, values in matrices.items():
        found = _not_a_matrix(values)
        if found is not None:
            message = (
                f"{where}: {name} is {found}; expected an array of numbers, rows x features, with one feature or more"
            )
            raise BenchmarkError(message)
        n_features[name] = values.shape[1]
    if len(set(n_features.values())) > 1:
        counts = ", ".join(f"{name} has {count}" for name, count in n_features.items())
        message = f"{where}: different features: {counts}; expected the same features in the same order"
        raise BenchmarkError(message)


def require_count(where: str, **counts: int) -> None:
    """Returns nothing if all are whole numbers of 1 or more.

    Args:
        where: the function that is called, for the message.
        counts: numbers, by the names of the arguments.

    Raises:
        BenchmarkError: one is not.
    """
    for name, count in counts.items():
        if not (count >= 1 and count % 1 == 0):  # false for NaN and infinity
            message = f"{where}: {name} is {count}; expected a whole number of 1 or more"
            raise BenchmarkError(message)


def require_shares(where: str, **shares: float) -> None:
    """Returns nothing if all are numbers from 0 to 1.

    Args:
        where: the function that is called, for the message.
        shares: numbers, by the names of the arguments.

    Raises:
        BenchmarkError: one is not, such as a NaN.
    """
    for name, share in shares.items():
        if not 0 <= share <= 1:  # false for NaN
            message = f"{where}: {name} is {share}; expected a share from 0 to 1"
            raise BenchmarkError(message)


def require_places(where: str, n_rows: int, **places: Shaped[np.ndarray, "..."]) -> None:
    """Returns nothing if all are whole numbers from 0 to the number of rows, exclusive.

    Args:
        where: the function that is called, for the message.
        n_rows: rows that the places are among.
        places: arrays of places, by the names of the arguments.

    Raises:
        BenchmarkError: some are not; numpy would take -1 for the last row.
    """
    for name, array in places.items():
        if array.dtype.kind not in "iu":
            message = f"{where}: {name} are {array.dtype}; expected whole numbers from 0 to {n_rows - 1}"
            raise BenchmarkError(message)
        for place in (int(array.min()), int(array.max())) if array.size else ():
            if not 0 <= place < n_rows:
                message = f"{where}: {name} has the place {place} among {n_rows} rows; expected 0 to {n_rows - 1}"
                raise BenchmarkError(message)


def _missing(names: Names) -> Bool[np.ndarray, "..."]:
    """Which names are None or NaN."""
    if isinstance(names, np.ndarray) and names.dtype.kind in "fmM":
        return np.isnan(names)
    if isinstance(names, np.ndarray) and names.dtype.kind != "O":  # such arrays cannot lack a name
        return np.zeros(1, dtype=bool)
    return np.array(
        [name is None or (isinstance(name, (float, np.floating)) and np.isnan(name)) for name in names], dtype=bool
    )


def _not_a_matrix(values: object) -> str | None:
    """What is found instead of a matrix of real numbers."""
    if not isinstance(values, np.ndarray):
        return f"a {type(values).__name__}"
    if isinstance(values, np.ma.MaskedArray):
        return "a masked array"
    if values.dtype.kind not in "fiub":
        return f"an array of {values.dtype}"
    return None if values.ndim == 2 and values.shape[1] > 0 else f"an array of shape {values.shape}"
