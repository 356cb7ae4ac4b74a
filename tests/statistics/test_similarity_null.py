"""P-values of similarities: equal to a t test where the null is known, and refused where it cannot be estimated."""

import numpy as np
import pytest
from scipy.stats import t

from cellassets.errors import StatisticsError
from cellassets.statistics.similarity_null import (
    MIN_PARTNERS,
    similarity_p_values,
    similarity_q_values,
    why_no_null,
)


def cosines_of(n_partners, n_dimensions, seed=0):
    """Cosines of one direction to uniform ones: the first coordinates of normal vectors of length 1."""
    vectors = np.random.default_rng(seed).standard_normal((n_partners, n_dimensions))
    return vectors[:, 0] / np.linalg.norm(vectors, axis=1)


@pytest.mark.parametrize("n_dimensions", [4, 64])
def test_p_values_of_uniform_directions_are_those_of_students_t(n_dimensions):
    cosines = cosines_of(100_000, n_dimensions)
    statistic = np.sqrt(n_dimensions - 1) * np.abs(cosines) / np.sqrt(1 - cosines**2)
    expected = 2 * t.sf(statistic, n_dimensions - 1)
    found = similarity_p_values(cosines, np.ones(100_000, dtype=bool))
    is_read = expected > 1e-4
    np.testing.assert_allclose(np.log10(found[is_read]), np.log10(expected[is_read]), atol=0.12)


def test_only_tested_partners_have_p_values_and_make_the_null():
    cosines, is_tested = cosines_of(400, 32), np.arange(400) < 200
    found = similarity_p_values(cosines, is_tested)
    assert np.isnan(found[200:]).all()
    np.testing.assert_array_equal(found[:200], similarity_p_values(cosines[:200], np.ones(200, dtype=bool)))
    q_values = similarity_q_values(found)
    assert np.isnan(q_values[200:]).all()
    assert (q_values[:200] >= found[:200]).all()


def test_a_planted_partner_is_found_on_either_side_and_equal_vectors_are_no_error():
    cosines = cosines_of(300, 64)
    cosines[:3] = 0.8, -0.8, 1.0 + 1e-7
    found = similarity_p_values(cosines, np.ones(300, dtype=bool))
    assert (similarity_q_values(found)[:3] < 0.001).all()
    assert (found > 0).all()


def test_fewer_partners_are_less_certain():
    many, few = cosines_of(10_000, 64), cosines_of(MIN_PARTNERS, 64)
    many[0] = few[0] = 0.6
    p_many, p_few = (similarity_p_values(one, np.ones(len(one), dtype=bool))[0] for one in (many, few))
    assert p_many < 1e-5 < p_few


@pytest.mark.parametrize(
    ("cosines", "words"),
    [
        (cosines_of(MIN_PARTNERS - 1, 64), f"{MIN_PARTNERS - 1} partners can be tested"),
        (np.clip(cosines_of(200, 64) + 0.5, -1, 1), "share a direction"),
        (np.where(np.arange(200) < 150, 0.1, cosines_of(200, 64)), "equal"),
    ],
)
def test_a_null_that_cannot_be_estimated_gives_no_p_value_and_a_reason(cosines, words):
    is_tested = np.ones(len(cosines), dtype=bool)
    assert np.isnan(similarity_p_values(cosines, is_tested)).all()
    assert words in why_no_null(cosines, is_tested)


@pytest.mark.parametrize("bad", [np.nan, 1.5])
def test_a_cosine_that_is_none_is_refused_with_its_place(bad):
    cosines = cosines_of(50, 64)
    cosines[7] = bad
    with pytest.raises(StatisticsError, match="partner 7"):
        similarity_p_values(cosines, np.ones(50, dtype=bool))
    assert np.isfinite(similarity_p_values(cosines, np.arange(50) != 7)[8])


def test_as_many_marks_as_cosines_are_needed():
    with pytest.raises((StatisticsError, TypeError), match=r"50|shape"):
        similarity_p_values(cosines_of(50, 8), np.ones(49, dtype=bool))
