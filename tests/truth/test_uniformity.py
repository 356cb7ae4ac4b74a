"""The truth tests can fail: on a part of the screens, p-values that are not uniform are refused too."""

import numpy as np
import pytest


@pytest.mark.parametrize(
    ("distort", "is_refused"),
    [
        (lambda p: p, False),
        (lambda p: p**2, True),  # too small
        (np.cbrt, True),  # too large
        (lambda p: np.where(p < 0.2, 0.01, p), True),  # every fifth is called
    ],
)
def test_p_values_that_are_not_uniform_are_refused(p_values, distort, is_refused):
    found = p_values()
    found.found["x", "metric"] = list(distort((np.arange(50) + 0.5) / 50))
    assert (found.refused() == [("x", "metric")]) == is_refused
