"""cytominer-eval's measures against plain loops that were compared with its code (data/derive_published.py)."""

from itertools import combinations

import numpy as np
import pytest

from cellassets.benchmarks.published import cytominer
from cellassets.errors import BenchmarkError


@pytest.fixture
def wells(published_table):
    """Returns vectors, perturbations, labels, and which wells are controls."""
    table, vectors = published_table("wells")
    names = table["perturbation"].to_numpy()
    return vectors, names, table["label"].to_numpy(), names == "NTC"


def test_percent_replicating_is_the_published_share_of_pairs(wells, published_expected):
    vectors, names, _, is_control = wells
    found = cytominer.replicate_reproducibility(vectors[~is_control], names[~is_control])
    assert found == pytest.approx(published_expected["replicating"], abs=1e-12)


def test_percent_matching_is_the_same_of_profiles_with_one_label(wells, published_expected):
    vectors, names, labels, _ = wells
    treatments = sorted(set(names) - {"NTC"})
    means = np.stack([vectors[names == name].mean(axis=0) for name in treatments])
    of_each = np.array([labels[names == name][0] for name in treatments])
    found = cytominer.replicate_reproducibility(means, of_each, quantile=0.6)
    assert found == pytest.approx(published_expected["matching"], abs=1e-12)


def test_grit_is_the_published_one_of_every_well(wells, published_expected):
    vectors, names, _, is_control = wells
    expected = np.array([np.nan if value is None else value for value in published_expected["grit"]])
    assert np.isnan(expected).sum() == 1  # a perturbation of one well
    np.testing.assert_allclose(cytominer.grit(vectors, names, is_control), expected, atol=1e-12)


@pytest.mark.parametrize("name", ["B", "T"])
def test_the_distance_of_every_choice_of_wells_is_that_of_a_covariance_fitted_anew(wells, published_expected, name):
    vectors, names, _, is_control = wells
    own, controls = vectors[names == name], vectors[is_control]
    choices = np.array(list(combinations(range(len(own) + len(controls)), len(own))))
    found = cytominer.mahalanobis_of_chosen(own, controls, choices)
    distance, share = published_expected["mp_value"][name]
    assert found[0] == pytest.approx(distance, rel=1e-10)
    assert np.mean(found >= found[0] - 1e-9) == pytest.approx(share)


@pytest.mark.parametrize("name", ["B", "T"])
def test_the_mp_value_is_the_share_of_choices_that_are_as_far(wells, published_expected, name):
    vectors, names, _, is_control = wells
    found = cytominer.mp_value(vectors[names == name], vectors[is_control], n_permutations=4000, seed=1)
    assert found == pytest.approx(published_expected["mp_value"][name][1], abs=0.03)


def test_grit_by_hand():
    """Correlations of (1, 0, -1) with (1, -1, 0), (0, -1, 1), (0, 1, -1) are 1/2, -1/2 and 1/2."""
    profiles = np.array([[1.0, 0, -1], [2.0, 1, 0], [1, -1, 0], [0, -1, 1], [0, 1, -1]])
    names = np.array(["A", "A", "NTC", "NTC", "NTC"])
    found = cytominer.grit(profiles, names, names == "NTC")
    controls = np.array([0.5, -0.5, 0.5])
    assert found[0] == pytest.approx((1 - controls.mean()) / controls.std())


def test_equal_controls_have_a_spread_of_one():
    profiles = np.array([[1.0, 0, -1], [1.0, -1, 0], *[[0, 1.0, -1]] * 3])
    names = np.array(["A", "A", "NTC", "NTC", "NTC"])
    assert cytominer.grit(profiles, names, names == "NTC")[0] == pytest.approx(0.5 - 0.5)


def test_profiles_without_a_correlation_are_refused_by_row(wells):
    vectors, names, _, is_control = wells
    constant = f"1 of {len(vectors)} profiles, the first in row 7, have no corr"
    not_finite = f"profiles, row 7 of {len(vectors)} is not finite"
    for value, message in ((np.nan, not_finite), (np.inf, not_finite), (3.0, constant)):
        spoilt = vectors.copy()
        spoilt[7] = value
        with pytest.raises(BenchmarkError, match=message):
            cytominer.grit(spoilt, names, is_control)
        with pytest.raises(BenchmarkError, match=message):
            cytominer.replicate_reproducibility(spoilt, names)


def test_too_little_to_compare_is_refused(wells):
    vectors, names, _, is_control = wells
    with pytest.raises(BenchmarkError, match="2 of 4 profiles are controls; expected at least 3"):
        cytominer.grit(vectors[:4], names[:4], np.array([True, True, False, False]))
    with pytest.raises(BenchmarkError, match="0 of 3 pairs of profiles are of one group"):
        cytominer.replicate_reproducibility(vectors[:3], np.array(["A", "B", "C"]))
    with pytest.raises(BenchmarkError, match="4 controls and 3 principal components; a covariance needs at least 5"):
        cytominer.mp_value(vectors[names == "A"], vectors[is_control][:4])
    spoilt = vectors[is_control].copy()
    spoilt[3, 1] = np.nan
    with pytest.raises(BenchmarkError, match="not finite"):
        cytominer.mp_value(vectors[names == "A"], spoilt)


def test_equal_profiles_and_equal_controls_have_no_distance():
    with pytest.raises(BenchmarkError, match="all 18 profiles are equal"):
        cytominer.mp_value(np.ones((6, 4)), np.ones((12, 4)))
    with pytest.raises(BenchmarkError, match="controls do not vary where the perturbation differs from them"):
        cytominer.mahalanobis_of_chosen(np.array([[1.0, 2.0]]), np.zeros((12, 2)), np.array([[0]]))
