"""proxbias' statistics against plain loops that were compared with proxbias 0.11.0 (data/derive_published.py)."""

import numpy as np
import pytest
from scipy import stats

from cellassets.benchmarks.published.proxbias import brunner_munzel, proximity_bias
from cellassets.errors import BenchmarkError
from cellassets.mapping.relate import cosine_similarities

COLUMNS = ("statistic", "probability", "p_value", "n_within", "n_between")


def test_proximity_bias_is_the_published_one(published_table, published_expected):
    genes, vectors = published_table("genes")
    genome, arms = proximity_bias(vectors, genes["arm"].to_numpy())
    expected = published_expected["proximity"]
    np.testing.assert_allclose([getattr(genome, name) for name in COLUMNS], expected["genome"], atol=1e-12)
    assert arms["arm"].to_list() == list(expected["arms"])
    np.testing.assert_allclose(arms.select(COLUMNS), list(expected["arms"].values()), atol=1e-12)
    np.testing.assert_allclose(arms["bonferroni_p_value"], 3 * arms["p_value"])


@pytest.mark.parametrize("n_levels", [3, 1000])
def test_the_test_is_that_of_scipy_with_the_other_sign(n_levels):
    rng = np.random.default_rng(n_levels)
    within, between = rng.integers(n_levels, size=40) + 0.3 * n_levels, rng.integers(n_levels, size=300) * 1.0
    within = np.round(within)
    found = brunner_munzel(within, np.sort(between))
    scipys = stats.brunnermunzel(within, between, alternative="less", distribution="normal")
    # its alternatives are named for the other sample, so "less" is what it calls a larger first one
    assert found.statistic == pytest.approx(-scipys.statistic)
    two_sided = stats.brunnermunzel(within, between, distribution="normal").pvalue
    assert found.p_value == pytest.approx(two_sided / 2 if found.statistic > 0 else 1 - two_sided / 2)


def test_samples_that_do_not_overlap_are_beyond_doubt():
    found = brunner_munzel(np.array([5.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert (found.statistic, found.probability, found.p_value) == (np.inf, 1.0, 0.0)


def test_a_planted_arm_effect_is_found_and_shuffled_arms_are_not():
    rng = np.random.default_rng(0)
    arm = np.repeat([f"{number}p" for number in range(8)], 15)
    vectors = rng.standard_normal((120, 16)) + np.repeat(rng.standard_normal((8, 16)), 15, axis=0)
    genome, arms = proximity_bias(vectors, arm)
    assert genome.p_value < 1e-6
    assert (arms["p_value"] < 0.01).all()
    assert proximity_bias(vectors, rng.permutation(arm))[0].p_value > 0.01


def test_a_single_arm_is_refused():
    with pytest.raises(BenchmarkError, match="3 pairs within 1 arms, 0 between"):
        proximity_bias(np.eye(3), np.array(["1p"] * 3))


# where the reference is wrong: the worked example of docs/published-statistics.md


def test_pairs_between_arms_count_twice_in_the_whole_genome(published_table):
    genes, vectors = published_table("genes")
    arm = genes["arm"].to_numpy()
    first, second = np.triu_indices(len(arm), 1)
    cosines = cosine_similarities(vectors)[first, second]
    is_within = arm[first] == arm[second]
    once = brunner_munzel(cosines[is_within], np.sort(cosines[~is_within]))
    published, _ = proximity_bias(vectors, arm)
    assert (once.n_between, published.n_between) == (480, 960)
    assert once.probability == pytest.approx(published.probability)
    assert once.p_value > published.p_value
