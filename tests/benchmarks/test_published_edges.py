"""Input of the published statistics that the references accept silently, or fail on without saying why."""

import math

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.published.copairs import (
    PairRule,
    average_precision,
    phenotypic_activity,
    phenotypic_consistency,
)
from cellassets.benchmarks.published.efaar_map import cluster_separation, relationship_recall
from cellassets.benchmarks.published.efaar_wells import perturbation_consistency, perturbation_magnitude
from cellassets.benchmarks.published.proxbias import brunner_munzel, proximity_bias
from cellassets.benchmarks.published.rxrx import compound_gene_retrieval
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
    "compound_gene_retrieval": (retrieval, [f"C{number}" for number in range(60)]),
}


def plain(found):
    """The numbers of a result, for comparing."""
    tables = [part for part in (found if isinstance(found, tuple) else (found,)) if isinstance(part, pl.DataFrame)]
    return [table.to_dict(as_series=False) for table in tables] or found.value.tolist()


@pytest.mark.parametrize("name", NAMED)
def test_names_may_be_a_list_or_an_array(name):
    function, names = NAMED[name]
    np.testing.assert_equal(plain(function(WELLS, names)), plain(function(WELLS, np.array(names))))
    np.testing.assert_equal(plain(function(WELLS, names)), plain(function(WELLS, np.array(names, dtype=object))))


@pytest.mark.parametrize("name", sorted(NAMED.keys() - {"compound_gene_retrieval"}))
def test_a_missing_name_is_refused(name):
    function, names = NAMED[name]
    with pytest.raises(BenchmarkError, match=r"row 7 has no name \(1 of 60 \w+ are missing\)"):
        function(WELLS, [*names[:7], None, *names[8:]])


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
