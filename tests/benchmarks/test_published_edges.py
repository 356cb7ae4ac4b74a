"""Input of the published statistics that the references accept silently, or fail on without saying why."""

import math

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.published import cytominer
from cellassets.benchmarks.published.checked import require_matrices
from cellassets.benchmarks.published.copairs import (
    AveragePrecision,
    PairRule,
    average_precision,
    phenotypic_activity,
    phenotypic_consistency,
)
from cellassets.benchmarks.published.copairs_null import mean_average_precision, random_average_precisions
from cellassets.benchmarks.published.efaar_map import cluster_separation, pair_percentiles, relationship_recall
from cellassets.benchmarks.published.efaar_wells import (
    energy_distances,
    perturbation_consistency,
    perturbation_magnitude,
)
from cellassets.benchmarks.published.proxbias import brunner_munzel, proximity_bias
from cellassets.benchmarks.published.rxrx import compound_gene_retrieval, ranking_metrics
from cellassets.errors import BenchmarkError

RNG = np.random.default_rng(1)
WELLS = RNG.standard_normal((60, 8))
NAMES = [f"G{number % 12:02d}" for number in range(60)]
GENES = [f"G{number:02d}" for number in range(60)]
ARMS = [f"{number % 4}p" for number in range(60)]
IS_CONTROL = np.array([name == "G00" for name in NAMES])
PAIRS = {"hand": pl.DataFrame({"entity1": ["G00", "G02"], "entity2": ["G01", "G03"]})}
ACTIVITIES = pl.DataFrame({"compound_id": ["C0"] * 60, "gene_symbol": GENES, "activity_nm": [5.0] + [1e6] * 59})


def retrieval(vectors, names):
    labels = pl.DataFrame({"compound_id": names, "concentration_um": [1.0] * len(names)})
    return compound_gene_retrieval((vectors, labels), (WELLS, GENES), ACTIVITIES)


# the functions of vectors and names, and good names for 60 vectors
NAMED = {
    "perturbation_consistency": (perturbation_consistency, NAMES),
    "perturbation_magnitude": (lambda v, n: perturbation_magnitude(v, n, control="G00"), NAMES),
    "relationship_recall": (lambda v, n: relationship_recall(v, n, PAIRS), GENES),
    "cluster_separation": (lambda v, n: cluster_separation(v, n, {"c": GENES[:12]}), GENES),
    "proximity_bias": (proximity_bias, ARMS),
    "phenotypic_activity": (lambda v, n: phenotypic_activity(v, n, IS_CONTROL[: len(v)]), NAMES),
    "phenotypic_consistency": (lambda v, n: phenotypic_consistency(v, n, GENES[: len(v)]), NAMES),
    "replicate_reproducibility": (cytominer.replicate_reproducibility, NAMES),
    "grit": (lambda v, n: cytominer.grit(v, n, IS_CONTROL[: len(v)]), NAMES),
    "compound_gene_retrieval": (retrieval, [f"C{number}" for number in range(60)]),
}


def plain(found):
    """The numbers of a result, for comparing."""
    if not isinstance(found, (pl.DataFrame, AveragePrecision)) and not isinstance(found[-1], pl.DataFrame):
        return found  # numbers
    tables = [part for part in (found if isinstance(found, tuple) else (found,)) if isinstance(part, pl.DataFrame)]
    return [table.to_dict(as_series=False) for table in tables] or found.value.tolist()


@pytest.mark.parametrize("name", NAMED)
def test_names_may_be_a_list_or_an_array(name):
    function, names = NAMED[name]
    np.testing.assert_equal(plain(function(WELLS, names)), plain(function(WELLS, np.array(names))))
    np.testing.assert_equal(plain(function(WELLS, names)), plain(function(WELLS, np.array(names, dtype=object))))


@pytest.mark.parametrize("missing", [None, math.nan, np.float64("nan")])
@pytest.mark.parametrize("name", sorted(NAMED.keys() - {"compound_gene_retrieval"}))
def test_a_missing_name_is_refused(name, missing):
    function, names = NAMED[name]
    spoilt = [*names[:7], missing, *names[8:]]
    for given in (spoilt, np.array(spoilt, dtype=object)):
        with pytest.raises(BenchmarkError, match=r"row 7 has no name \(1 of 60 \w+ are missing\)"):
            function(WELLS, given)


@pytest.mark.parametrize("name", NAMED)
def test_one_name_too_few_is_refused(name):
    function, names = NAMED[name]
    with pytest.raises(BenchmarkError, match=r"59 \w+ for 60 vectors; expected one for each vector"):
        function(WELLS, names[:59])


@pytest.mark.parametrize("name", NAMED)
def test_no_vectors_are_refused(name):
    function, _ = NAMED[name]
    with pytest.raises(BenchmarkError, match=r"there is no vector; expected one"):
        function(WELLS[:0], [])


def test_labels_of_another_length_are_refused():
    rule = PairRule(same=(NAMES[:50],))
    with pytest.raises(BenchmarkError, match="50 labels for 60 vectors"):
        average_precision(WELLS, positives=rule, negatives=PairRule(different=(NAMES,)))
    with pytest.raises(BenchmarkError, match="59 is_control for 60 vectors"):
        phenotypic_activity(WELLS, NAMES, IS_CONTROL[:59])


def test_activity_without_controls_is_refused():
    with pytest.raises(BenchmarkError, match="none of the 60 profiles with a positive partner has a negative one"):
        phenotypic_activity(WELLS, NAMES, np.zeros(60, dtype=bool))


def test_consistency_of_a_single_label_is_refused():
    with pytest.raises(BenchmarkError, match="has a negative one; are there negative controls, or other labels"):
        phenotypic_consistency(WELLS, ["one"] * 60, GENES)


def test_proximity_of_identical_genes_has_no_p_value():
    found, arms = proximity_bias(np.ones((60, 4)), ARMS)
    assert found.probability == 0.5
    assert math.isnan(found.statistic)
    assert math.isnan(found.p_value)
    assert arms["p_value"].is_nan().all()
    assert brunner_munzel(np.array([2.0, 2.0]), np.array([1.0, 1.0])).p_value == 0.0  # separate: beyond doubt


def test_a_pair_of_a_gene_with_itself_is_left_out():
    itself = pl.DataFrame({"entity1": ["G00", "G05"], "entity2": ["G05", "G05"]})
    with_it, without = (relationship_recall(WELLS, GENES, {"hand": pairs}) for pairs in (itself, itself.head(1)))
    assert with_it.equals(without)
    assert with_it["n_pairs"].to_list() == [1, 1]


def test_pairs_in_another_letter_case_are_named():
    lower = {"hand": PAIRS["hand"].with_columns(pl.all().str.to_lowercase())}
    with pytest.raises(BenchmarkError, match="4 names differ in letter case alone, such as 'g00' from the map's 'G00'"):
        relationship_recall(WELLS, GENES, lower)
    unknown = {"hand": pl.DataFrame({"entity1": ["A"], "entity2": ["B"]})}
    assert relationship_recall(WELLS, GENES, unknown).is_empty()


def test_a_table_without_pairs_is_refused():
    with pytest.raises(BenchmarkError, match=r"columns \['gene'\]; expected entity1 and entity2"):
        relationship_recall(WELLS, GENES, {"hand": pl.DataFrame({"gene": ["G00"]})})


def test_two_rows_of_one_gene_are_refused_by_retrieval():
    labels = pl.DataFrame({"compound_id": ["C0"], "concentration_um": [1.0]})
    with pytest.raises(BenchmarkError, match="60 rows of 12 genes; aggregate to one row per gene"):
        compound_gene_retrieval((WELLS[:1], labels), (WELLS, NAMES), ACTIVITIES)


# --- vectors, places, counts and shares

SCORES = phenotypic_activity(WELLS, NAMES, IS_CONTROL)
OF_VECTORS = {name: lambda v, of=of: of[0](v, of[1]) for name, of in NAMED.items() if of[0] is not retrieval} | {
    "average_precision": lambda v: average_precision(v, positives=PairRule((NAMES,)), negatives=PairRule((), (NAMES,))),
    "pair_percentiles": lambda v: pair_percentiles(v, np.array([[0, 1]])),
    "energy_distances": lambda v: energy_distances(v, np.arange(9), np.zeros(9, int), controls=np.arange(9, 20)),
    "mp_value": lambda v: cytominer.mp_value(v, WELLS),
    "mahalanobis_of_chosen": lambda v: cytominer.mahalanobis_of_chosen(WELLS[:2], v, np.array([[0, 1]])),
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (WELLS[:, 0], r"an array of shape \(60,\); expected an array of numbers, rows x features"),
        (WELLS[:, None], r"an array of shape \(60, 1, 8\)"),
        (WELLS[:, :0], r"an array of shape \(60, 0\)"),
        (WELLS.tolist(), "is a list; expected an array of numbers"),
        (WELLS.astype(complex), "an array of complex128"),
        (WELLS.astype(object), "an array of object"),
        (np.ma.masked_less(WELLS, 0), "a masked array"),
    ],
)
@pytest.mark.parametrize("name", OF_VECTORS)
def test_vectors_that_are_not_a_matrix_of_numbers_are_refused(name, wrong, message):
    with pytest.raises(BenchmarkError, match=message):
        OF_VECTORS[name](wrong)


def of_chosen(place):
    return cytominer.mahalanobis_of_chosen(WELLS[:2], WELLS[2:], np.array([[0, place]]))


def distances_to(place):
    return energy_distances(WELLS, np.arange(5), np.zeros(5, int), controls=np.array([7, place]))


def percentiles_of(place):
    return pair_percentiles(WELLS, np.array([[0, 1], [0, place]]))


@pytest.mark.parametrize("place", [-1, 60])
@pytest.mark.parametrize("function", [of_chosen, distances_to, percentiles_of])
def test_places_that_are_not_among_the_rows_are_refused(function, place):
    with pytest.raises(BenchmarkError, match=f"has the place {place} among 60 rows; expected 0 to 59"):
        function(place)


def test_percentiles_of_a_gene_with_itself_are_refused():
    with pytest.raises(BenchmarkError, match="pair 1 is of gene 0 with itself"):
        percentiles_of(0)


@pytest.mark.parametrize("number", [0, -1])
@pytest.mark.parametrize(
    "function",
    [
        lambda n: mean_average_precision(SCORES, NAMES, n_draws=n),
        lambda n: random_average_precisions(1, 2, n_draws=n, seed=0),
        lambda n: cytominer.mp_value(WELLS[:2], WELLS[2:], n_permutations=n),
        lambda n: perturbation_magnitude(WELLS, NAMES, control="G00", max_controls=n),
    ],
)
def test_numbers_of_draws_below_one_are_refused(function, number):
    with pytest.raises(BenchmarkError, match=f"is {number}; expected a whole number of 1 or more"):
        function(number)


@pytest.mark.parametrize("share", [2.0, -0.1, math.nan, math.inf])
@pytest.mark.parametrize(
    "function",
    [
        lambda share: relationship_recall(WELLS, GENES, PAIRS, thresholds=[(0.05, 0.95), (share, 0.95)]),
        lambda share: relationship_recall(WELLS, GENES, PAIRS, thresholds=[(0.05, share)]),
        lambda share: cytominer.replicate_reproducibility(WELLS, NAMES, quantile=share),
    ],
)
def test_shares_outside_0_to_1_are_refused(function, share):
    with pytest.raises(BenchmarkError, match=f"is {share}; expected a share from 0 to 1"):
        function(share)


def test_thresholds_may_come_in_either_order():
    recalls = [relationship_recall(WELLS, GENES, PAIRS, thresholds=[one])["recall"] for one in ((0.4, 0.6), (0.6, 0.4))]
    assert recalls[0].equals(recalls[1])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (NAMES[:59], "59 groups for 60 vectors"),
        ([*NAMES, "G99"], "61 groups for 60 vectors"),
        ([None, *NAMES[1:]], "row 0 has no name"),
    ],
)
def test_groups_that_are_not_those_of_the_profiles_are_refused(groups, message):
    with pytest.raises(BenchmarkError, match=message):
        mean_average_precision(SCORES, groups, n_draws=9)


def test_equal_profiles_are_perfect_as_in_copairs():
    scores = phenotypic_activity(np.ones((60, 8)), NAMES, IS_CONTROL)
    found = mean_average_precision(scores, NAMES)  # copairs 0.5.5: 1.0 and 1 / 10,001
    assert found["value"].to_list() == [1.0] * 11
    assert found["p_value"].to_list() == found["q_value"].to_list() == [1 / 10_001] * 11


def test_own_profiles_and_controls_have_the_same_features():
    with pytest.raises(BenchmarkError, match="own has 4, controls has 8; expected the same features"):
        cytominer.mp_value(WELLS[:2, :4], WELLS[2:])
    with pytest.raises(BenchmarkError, match="compounds has 4, genes has 8"):
        require_matrices("f", compounds=WELLS[:, :4], genes=WELLS)


def test_retrieval_refuses_a_masked_array():
    with pytest.raises(BenchmarkError, match="compounds is a masked array"):
        retrieval(np.ma.masked_less(WELLS, 0), GENES)


def test_rankings_without_an_active_item_or_without_others_are_refused():
    for is_active in (np.zeros((1, 3), bool), np.ones((1, 3), bool)):
        with pytest.raises(BenchmarkError, match=f"{is_active.sum()} of 3 items are active in ranking 0"):
            ranking_metrics(np.arange(3.0)[None], is_active)


def test_samples_that_cannot_be_compared_are_refused():
    with pytest.raises(BenchmarkError, match="1 values within, 3 between; needs 2 of each"):
        brunner_munzel(np.ones(1), np.zeros(3))
    with pytest.raises(BenchmarkError, match="between is not in ascending order"):
        brunner_munzel(np.ones(2), np.array([2.0, 1.0]))
