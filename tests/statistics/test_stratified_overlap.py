"""The exact overlap of two groups within strata: against scipy, numbers worked by hand, and drawn permutations."""

import numpy as np
import pytest
from scipy.stats import hypergeom

from cellassets.statistics.permutation import permuted_within
from cellassets.statistics.stratified_overlap import expected_overlap, overlap_p_value


def counts(*strata):
    return tuple(np.array(column) for column in zip(*strata, strict=True))


@pytest.mark.parametrize(("names", "first", "second"), [(20, 7, 9), (5000, 40, 60), (6, 5, 4), (3, 3, 3)])
def test_one_stratum_is_the_hypergeometric_distribution(names, first, second):
    one = counts((names, first, second))
    found = [overlap_p_value(overlap, *one) for overlap in range(min(first, second) + 1)]
    expected = [hypergeom.sf(overlap - 1, names, first, second) for overlap in range(min(first, second) + 1)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert expected_overlap(*one) == pytest.approx(first * second / names)


def test_two_strata_by_hand():
    """In the first stratum both of 2 in 4 with chance 1/6, none with 1/6; in the second one of 1 in 2 with 1/2."""
    two = counts((4, 2, 2), (2, 1, 1))
    found = [overlap_p_value(overlap, *two) for overlap in range(4)]
    assert found == pytest.approx([1.0, 1 - 1 / 12, 0.5, 1 / 12])
    assert expected_overlap(*two) == pytest.approx(1.5)


def test_it_is_the_limit_of_permutations_within_strata():
    rng = np.random.default_rng(0)
    stratum = np.repeat([0, 1, 2], [30, 12, 8])
    in_first, in_second = rng.random(50) < 0.3, rng.random(50) < np.where(stratum == 1, 0.7, 0.2)
    drawn = np.array([(in_first & in_second[permuted_within(stratum, rng)]).sum() for _ in range(20_000)])
    sizes = counts(*((n, in_first[own].sum(), in_second[own].sum()) for n, own in _strata(stratum)))
    for overlap in np.unique(drawn):
        exact = overlap_p_value(int(overlap), *sizes)
        assert (drawn >= overlap).mean() == pytest.approx(
            exact, abs=4 * np.sqrt(exact * (1 - exact) / len(drawn)) + 1e-9
        )
    assert drawn.mean() == pytest.approx(expected_overlap(*sizes), abs=0.05)


def _strata(stratum):
    for number in np.unique(stratum):
        own = stratum == number
        yield own.sum(), own


def test_names_that_are_alone_in_their_strata_say_nothing():
    assert overlap_p_value(3, *counts((1, 1, 1), (1, 1, 1), (1, 1, 1))) == 1.0


def test_tiny_p_values_are_not_rounded_to_zero():
    assert 0 < overlap_p_value(50, *counts((20_000, 50, 50))) < 1e-100
