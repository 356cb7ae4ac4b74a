"""Values that are not finite: every public function of the science packages refuses them by name and place.

A NaN that gets through becomes a number later: a row of NaN had cosine 0, and a NaN among draws made the smallest
p-value. `finite_arguments` checks the arrays that a function is called with; `require_finite` checks one array.
"""

import math
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

import numpy as np
from jaxtyping import Shaped

from cellassets.errors import CellAssetsError, StatisticsError

P = ParamSpec("P")
R = TypeVar("R")
Names = Sequence[object] | Shaped[np.ndarray, "_"]
MAX_NAMED = 3


def require_finite(
    where: str,
    values: Shaped[np.ndarray, "..."],
    *,
    names: Names | None = None,
    kind: str = "row",
    error: type[CellAssetsError] = StatisticsError,
) -> None:
    """Returns nothing if all values are finite.

    Args:
        where: the function that refuses, for the message.
        values: numbers; the first axis is that of the names.
        names: what each row is of, such as genes; None: rows have numbers only.
        kind: what a row is, such as `gene` or `well`.
        error: the class of the error.

    Raises:
        CellAssetsError: of the class `error`: some values are NaN or infinite; the message names the first such rows.
    """
    with np.errstate(all="ignore"):
        total = float(values.sum()) if values.size else 0.0
    if math.isfinite(total):  # one NaN or infinity makes the sum one; no copy of the values is needed
        return
    rows = np.atleast_1d(values)
    is_bad = ~np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
    if is_bad.any():
        raise error(refusal(where, is_bad, names=names, kind=kind))


def refusal(where: str, is_bad: Shaped[np.ndarray, "row"], *, names: Names | None = None, kind: str = "row") -> str:
    """Returns the message about rows that are not finite.

    Args:
        where: the function that refuses.
        is_bad: which rows are not finite.
        names: what each row is of.
        kind: what a row is.
    """
    rows = np.flatnonzero(is_bad).tolist()
    shown = ", ".join(str(row) if names is None else f"{names[row]} (row {row})" for row in rows[:MAX_NAMED])
    more = f" and {len(rows) - MAX_NAMED} more" if len(rows) > MAX_NAMED else ""
    return (
        f"{where}: {kind} {shown}{more} of {len(is_bad)} is not finite (NaN or infinite values); correct what made it, "
        "or leave it out"
    )


def finite_arguments(
    error: type[CellAssetsError], **names: tuple[str, str]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Returns a decorator: the function refuses arrays of real numbers that are not finite.

    Args:
        error: the class of the error.
        names: for an argument with one row per thing: the argument with the things' names, and what they are.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        arguments = signature(function)

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            given: dict[str, Any] = arguments.bind(*args, **kwargs).arguments
            for name, value in given.items():
                if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                    of, kind = names.get(name, (None, f"{name}, row"))
                    named = given.get(of) if of else None
                    is_named = named is not None and len(named) == len(value)
                    where = function.__name__
                    require_finite(where, value, names=named if is_named else None, kind=kind, error=error)
            return function(*args, **kwargs)

        return checked

    return decorate
