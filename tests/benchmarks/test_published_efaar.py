"""EFAAR's statistics against plain loops that were compared with EFAAR_benchmarking 1.0 (data/derive_published.py)."""

from itertools import product

import numpy as np
import polars as pl
import pytest
from scipy import stats

from cellassets.benchmarks.published.efaar_map import cluster_separation, relationship_recall
from cellassets.benchmarks.published.efaar_wells import (
    energy_distances,
    perturbation_consistency,
    perturbation_magnitude,
    published_p_values,
)
from cellassets.benchmarks.published.groups import named_codes
from cellassets.errors import BenchmarkError

UNEXPRESSED = ("U0", "U1", "U2", "U3")


def values_and_p(table):
    rows = table.select("perturbation_id", "value", "p_value").rows()
    return {name: [value, p_value] for name, value, p_value in rows}


def assert_as_expected(found, expected):
    assert found.keys() == expected.keys()
    for name, numbers in expected.items():
        plain = [np.nan if number is None else number for number in numbers]
        np.testing.assert_allclose(found[name], plain, atol=1e-9, err_msg=name)


def complexes(genes):
    """All pairs within each complex, as an annotation source."""
    pairs = genes.join(genes, on="complex").filter(pl.col("gene") < pl.col("gene_right"))
    return pairs.select(entity1="gene", entity2="gene_right")


def rotation(n, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]


@pytest.mark.usefixtures("_any_block_size")
def test_consistency_is_the_published_one(published_table, published_expected):
    wells, vectors = published_table("wells")
    kept = (wells["perturbation"] != "NTC").to_numpy()
    table = perturbation_consistency(vectors[kept], wells["perturbation"].to_numpy()[kept], unexpressed=UNEXPRESSED)
    assert_as_expected(values_and_p(table), published_expected["consistency"])


@pytest.mark.usefixtures("_any_block_size")
def test_magnitude_is_the_published_one(published_table, published_expected):
    wells, vectors = published_table("wells")
    table = perturbation_magnitude(vectors, wells["perturbation"].to_numpy(), control="NTC", unexpressed=UNEXPRESSED)
    assert_as_expected(values_and_p(table), published_expected["magnitude"])


@pytest.mark.usefixtures("_any_block_size")
def test_recall_is_the_published_one(published_table, published_expected):
    genes, vectors = published_table("genes")
    strangers = pl.DataFrame({"entity1": ["G00", "G01"], "entity2": ["NOWHERE", "ELSE"]})
    sources = {"known": complexes(genes), "none": strangers, "both": pl.concat([complexes(genes), strangers])}
    table = relationship_recall(vectors, genes["gene"].to_list(), sources)
    expected = published_expected["recall"]
    assert table["source"].to_list() == ["known", "known", "both", "both"]
    np.testing.assert_allclose(table["recall"], list(expected["recall"].values()) * 2, atol=1e-12)
    assert set(table["n_pairs"]) == {expected["n_pairs"]}
    assert set(table["n_null_pairs"]) == {expected["n_null_pairs"]}


def test_a_map_without_known_pairs_has_no_recall():
    none = pl.DataFrame({"entity1": ["a"], "entity2": ["b"]})
    assert relationship_recall(np.eye(3), ["x", "y", "z"], {"none": none}).is_empty()


def test_cluster_separation_is_the_published_one(published_table, published_expected):
    genes, vectors = published_table("genes")
    clusters = {name: own["gene"].to_list() for (name,), own in genes.group_by("complex", maintain_order=True)}
    found = cluster_separation(vectors, genes["gene"].to_list(), clusters | {"small": ["G00", "G01"]})
    columns = ("mean_within", "mean_between", "n_genes", "n_other_genes", "ks_statistic")
    assert found["cluster"].to_list() == ["C0", "C1", "C2"]
    np.testing.assert_allclose(found.select(columns), list(published_expected["clusters"].values()), atol=1e-12)
    # what EFAAR_benchmarking 1.0 printed
    np.testing.assert_allclose(
        found["p_value"], [0.1363489427761928, 8.954737470868476e-13, 0.049154376774460176], rtol=1e-9
    )


def axes(rng, n_genes):
    """Vectors along the axes: cosines are -1, 0 or 1, and nearly all of them tie."""
    return np.eye(3)[rng.integers(3, size=n_genes)] * rng.choice([-1.0, 1.0], (n_genes, 1))


@pytest.mark.parametrize("n_genes", [40, 1200])  # scipy counts orders out, or takes the limit
@pytest.mark.parametrize("drawn", [axes, lambda rng, n_genes: rng.standard_normal((n_genes, 5))])
def test_the_test_of_a_cluster_is_that_of_scipy(n_genes, drawn):
    genes = drawn(np.random.default_rng(3), n_genes)
    genes /= np.linalg.norm(genes, axis=1, keepdims=True)
    names, cosines = [f"G{number}" for number in range(n_genes)], genes @ genes.T
    clusters = {"first": names[:12], "later": names[6:20]}
    found = cluster_separation(genes, names, clusters)
    for row, members in zip(found.iter_rows(named=True), (range(12), range(6, 20)), strict=True):
        own = np.array(members)
        within = cosines[np.ix_(own, own)][np.triu_indices(len(own), 1)]
        expected = stats.ks_2samp(within, np.delete(cosines[own], own, axis=1).ravel())
        assert (row["ks_statistic"], row["p_value"]) == pytest.approx(
            (expected.statistic, expected.pvalue), rel=1e-9, abs=1e-300
        )


@pytest.mark.parametrize("labels", [["b", "a", "b", "c"], [3, 1, 3, 2]])
def test_labels_get_the_places_that_numpy_gives_them(labels):
    names, codes = named_codes(np.array(labels))
    expected, places = np.unique(labels, return_inverse=True)
    np.testing.assert_array_equal(names, expected)
    np.testing.assert_array_equal(codes, places)


def test_turning_and_stretching_all_vectors_changes_no_cosine_statistic(published_table):
    wells, vectors = published_table("wells")
    genes, gene_vectors = published_table("genes")
    names = wells["perturbation"].to_numpy()
    turn = 7.0 * rotation(4)
    before, after = (perturbation_consistency(v, names, unexpressed=UNEXPRESSED) for v in (vectors, vectors @ turn))
    np.testing.assert_allclose(before["value"], after["value"], atol=1e-12)
    before, after = (
        relationship_recall(v, genes["gene"].to_list(), {"known": complexes(genes)})
        for v in (gene_vectors, gene_vectors @ turn)
    )
    assert before.equals(after)


def test_magnitude_stretches_with_the_vectors_and_ignores_where_they_lie(published_table):
    wells, vectors = published_table("wells")
    names = wells["perturbation"].to_numpy()
    before = perturbation_magnitude(vectors, names, control="NTC")
    after = perturbation_magnitude(1000 * vectors @ rotation(4) + 3, names, control="NTC")
    np.testing.assert_allclose(1000 * before["value"], after["value"], atol=0.1)  # the floor does not stretch
    assert before["p_value"].is_nan().all()


def test_more_controls_than_wanted_are_drawn_by_the_seed(published_table):
    wells, vectors = published_table("wells")
    names = wells["perturbation"].to_numpy()
    first, again, other = (
        perturbation_magnitude(vectors, names, control="NTC", max_controls=6, seed=seed) for seed in (1, 1, 2)
    )
    assert first.equals(again)
    assert not first.equals(other)


def test_a_planted_effect_is_found_and_shuffled_labels_are_not():
    rng = np.random.default_rng(0)
    kinds = [*(f"X{n}" for n in range(20)), *(f"U{n}" for n in range(20)), "NTC"]
    effects = 3 * rng.standard_normal((41, 6))
    effects[20:] = 0.0
    names = np.repeat(kinds, 8)
    vectors = rng.standard_normal((len(names), 6)) + np.repeat(effects, 8, axis=0)
    unexpressed = kinds[20:40]
    for labels, is_found in ((names, True), (rng.permutation(names), False)):
        for table in (
            perturbation_consistency(vectors, labels, unexpressed=unexpressed),
            perturbation_magnitude(vectors, labels, control="NTC", unexpressed=unexpressed),
        ):
            share = (table.filter(pl.col("perturbation_id").str.starts_with("X"))["p_value"] <= 0.05).mean()
            assert share > 0.9 if is_found else share < 0.3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: perturbation_magnitude(np.eye(3), np.array(["a"] * 3), control="NTC"), "no well of the control 'NTC'"),
        (
            lambda: perturbation_consistency(np.eye(3), np.array(["a"] * 3), unexpressed=["z"]),
            "none of 1 unexpressed genes",
        ),
        (lambda: relationship_recall(np.eye(3), ["a", "a", "b"], {}), "3 rows of 2 genes"),
    ],
)
def test_what_cannot_be_scored_says_why(call, message):
    # the reference builds the error of doubled genes and never raises it
    with pytest.raises(BenchmarkError, match=message):
        call()


# where the reference is wrong: the worked examples of docs/published-statistics.md


def test_a_null_of_other_replicate_numbers_halves_the_p_value():
    signs = {"U0": (1, 1, 1), "U1": (1, 1, -1), "U2": (1, -1, 1), "U3": (-1, 1, 1), "a": (1, 1), "b": (1, -1)}
    wells = np.array([[float(sign)] for own in signs.values() for sign in own])
    names = np.repeat(list(signs), [len(own) for own in signs.values()])
    found = values_and_p(perturbation_consistency(wells, names, unexpressed=UNEXPRESSED))
    # half of all pairs of coin flips agree, as "a" does; the published p-value calls that 0.25
    assert found == {"a": [1.0, 0.25], "b": [-1.0, 1.0]}


def test_a_well_lies_apart_from_itself():
    wells = np.array([[0.0]] * 5 + [[0.0], [3.0], [4.0]])
    found = energy_distances(wells, np.arange(5), np.zeros(5, dtype=int), controls=np.arange(5, 8))
    between, within_y = (1e-4 + 3 + 4) / 3, (2 * (3 + 4 + 1) + 3e-4) / 9
    assert found[0] == pytest.approx(2 * between - 1e-4 - within_y, abs=1e-12)
    assert found[0] == pytest.approx(2.888822222222222, abs=1e-12)  # printed by EFAAR_benchmarking 1.0
    assert 26 / 9 - found[0] == pytest.approx(2 / 3 * 1e-4, abs=1e-12)  # 26/9 without the floor


@pytest.mark.parametrize(("n_wells", "mean"), [(5, 0.2), (10, 0.1)])
def test_fewer_wells_lie_further_from_controls_of_their_own_kind(n_wells, mean):
    controls = np.array([[1.0], [-1.0]])
    groups = np.array(list(product((1.0, -1.0), repeat=n_wells))).ravel()
    rows = np.arange(len(groups))
    wells = np.concatenate([groups[:, None], controls])
    found = energy_distances(wells, rows, rows // n_wells, controls=np.arange(len(groups), len(groups) + 2))
    assert found.mean() == pytest.approx(mean, abs=1e-4)


def test_a_value_above_the_null_has_a_p_value_of_0():
    null = np.array([1.0, 2.0, 3.0, 4.0])
    values = np.array([9.0, 3.0, np.nan])
    np.testing.assert_array_equal(published_p_values(values, null, side="left"), [0.0, 0.5, np.nan])
    np.testing.assert_array_equal(published_p_values(values, null, side="right"), [0.0, 0.25, np.nan])


def test_a_null_without_a_number_counts_as_larger_than_all():
    null = np.array([1.0, np.nan, 2.0, np.nan])
    assert published_p_values(np.array([9.0]), null, side="left")[0] == 0.5


def test_pairs_that_share_a_gene_make_clusters_of_chance_significant():
    p_values = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        genes = rng.standard_normal((60, 64))
        genes[:, 0] += 10 * rng.random(60)  # all share an axis, some more of it than others
        cluster = {"chance": [str(gene) for gene in range(10)]}
        p_values += cluster_separation(genes, [str(gene) for gene in range(60)], cluster)["p_value"].to_list()
    assert np.mean(np.array(p_values) <= 0.05) > 0.1
