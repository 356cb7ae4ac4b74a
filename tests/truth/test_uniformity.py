"""The truth tests can fail: on a part of the screens, p-values that are not uniform are refused too.

A part is 12 screens for each of four null hypotheses.
"""

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
    found.found["x", "metric"] = list(distort((np.arange(48) + 0.5) / 48))
    assert (found.refused() == [("x", "metric")]) == is_refused


def test_screens_that_several_null_hypotheses_share_count_once(is_uniform):
    """Twelve p-values are too few to refuse; as often repeated as there are null hypotheses, they tell no more."""
    p_values = ((np.arange(12) + 0.5) / 12) ** 2
    assert is_uniform(p_values, 0.001)
    assert not is_uniform(np.tile(p_values, 4), 0.001)
    assert is_uniform(np.tile(p_values, 4), 0.001, n_independent=12)
