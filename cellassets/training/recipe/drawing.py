"""Values of the parameters of a search: those that a finite one has, and draws from a range.

A value is as a person writes it in the file; for a parameter with names it is the name. Draws depend on nothing but
their arguments, on any machine and with any version of any library.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from cellassets.training.recipe.search import Named, Parameter, Range

DIGITS = 3


def values_of(parameter: Parameter) -> Sequence[Any] | None:
    """Returns the values that a parameter can have, in order; None if it is a range without a step."""
    if isinstance(parameter, Named):
        return tuple(parameter.named)
    if not isinstance(parameter, Range):
        return parameter
    if parameter.is_integer and parameter.step is None:
        return range(int(parameter.low), int(parameter.high) + 1)
    if parameter.step is None:
        return None
    steps = range(parameter.n_steps + 1)
    return tuple(rounded(parameter.low + number * parameter.step, parameter) for number in steps)


def contains(parameter: Parameter, value: Any) -> bool:
    """Returns whether a parameter can have a value."""
    values = values_of(parameter)
    if values is not None:
        return value in values
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(parameter, Range) and is_number and parameter.low <= value <= parameter.high


def resolved(parameter: Parameter, value: Any) -> Any:
    """Returns what the recipe gets: the value, or what the name stands for."""
    return parameter.named[value] if isinstance(parameter, Named) else value


def rounded(number: int | float, within: Range) -> int | float:  # noqa: PYI041  the tests check types strictly
    """Returns a number of a range with few digits; an integer in a range of integers."""
    if within.is_integer:
        return min(max(round(number), int(within.low)), int(within.high))
    spread = (within.high - within.low) / max(abs(within.low), abs(within.high))
    digits = DIGITS + max(0, round(-math.log10(spread)))
    return min(max(float(f"{number:.{digits}g}"), float(within.low)), float(within.high))


def drawn(parameter: Parameter, place: str) -> Any:
    """Returns a random value of a parameter.

    Args:
        parameter: what to draw from.
        place: names the draw; equal places give equal values.
    """
    share = _uniform(place)
    if isinstance(parameter, Range) and parameter.scale == "log":
        return rounded(parameter.low * (parameter.high / parameter.low) ** share, parameter)
    values = values_of(parameter)
    if values is not None:
        return values[int(share * len(values))]
    assert isinstance(parameter, Range)  # noqa: S101  all others list their values
    return rounded(parameter.low + share * (parameter.high - parameter.low), parameter)


def _uniform(place: str) -> float:
    """A number from 0 to below 1 that looks random."""
    return int.from_bytes(hashlib.sha256(place.encode()).digest()[:6], "big") / 2**48
