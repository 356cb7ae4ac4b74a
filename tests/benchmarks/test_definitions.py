"""The three benchmarks' statistics against naive loops written from their definitions."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import cdist

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.errors import BenchmarkError
from cellassets.statistics import permutation as statistics
from cellassets.statistics.energy import ManyGroups, influences_of_others, pairwise_distances, two_group_measures

QUICK = {"n_permutations": 99, "seed": 5}
# a screen in which every benchmark has something to look at
EVERYTHING = {
    "n_guides_per_gene": 2,
    "n_compounds": 8,
    "n_doses": 3,
    "n_combinations": 6,
    "n_lone_genes": 12,
    "n_positive_controls": 3,
    "n_annotated_compounds": 30,
    "n_other_maps": 1,
}
# metrics without a scale that ends
WITHOUT_SCALE = ("energy_distance", "grit", "mahalanobis_distance", "pair_recalled")
# where the unit's value is a rank in its null distribution: the metric whose value is not
NOT_OF_ITS_NULL = {
    "perturbation_consistency": "consistency",
    "percent_replicating": "median_correlation",
    "mp_value": "mahalanobis_distance",
}


def score(name, judged, **parameters):
    chosen = BENCHMARKS[name]
    return chosen.score(judged, chosen.parameters(**{**QUICK, **parameters}))


def unit_values(rows, metric):
    return {row.perturbation_id: row.value for row in rows if row.level == "perturbation" and row.metric == metric}


def naive_energy(x, y):
    """Energy distance with means over pairs of different wells, and twice the mean distance between x and y."""
    between = cdist(x, y).mean()
    among = [np.mean([np.linalg.norm(a - b) for a, b in combinations(group, 2)]) for group in (x, y)]
    return 2 * between - sum(among), 2 * between


def test_consistency_is_the_mean_cosine_over_pairs_of_replicates(judge):
    judged = judge(seed=1, n_batches=2)
    values = unit_values(score("perturbation_consistency", judged), "consistency")
    for gene in ("GENE000", "GENE020"):
        wells = judged.vectors[np.array(judged.units) == gene].astype(np.float64)
        assert len(wells) == 4
        cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in combinations(wells, 2)]
        assert values[gene] == pytest.approx(np.mean(cosines))


def test_magnitude_is_the_energy_distance_to_unseen_controls_of_the_same_plates(judge):
    judged = judge(seed=2, n_batches=2)
    rows = score("perturbation_magnitude", judged)
    controls = judged.vectors[judged.is_held_out_control]
    assert 0 < len(controls) < (judged.wells["control_kind"] == "negative").sum()
    for gene in ("GENE000", "GENE020"):
        energy, twice = naive_energy(judged.vectors[np.array(judged.units) == gene], controls)
        assert unit_values(rows, "energy_distance")[gene] == pytest.approx(energy, rel=1e-5)
        assert unit_values(rows, "magnitude")[gene] == pytest.approx(energy / twice, rel=1e-5)


def test_magnitude_leaves_controls_of_other_plates_out(judge):
    judged = judge(seed=2, n_batches=2, is_aligned=False, batch_effect=30.0)
    here = judged.plate_index < 2
    units = np.where(np.array(judged.units) == "GENE000", np.where(here, "HERE", "THERE"), judged.units)
    judged = type(judged)(**{**vars(judged), "units": tuple(units.tolist())})
    value = unit_values(score("perturbation_magnitude", judged), "energy_distance")["HERE"]
    controls = judged.vectors[judged.is_held_out_control & here]
    assert value == pytest.approx(naive_energy(judged.vectors[units == "HERE"], controls)[0], rel=1e-5)


def test_a_gene_on_one_plate_is_not_far_because_its_plate_is(judge):
    judged = judge(seed=3, n_batches=2, is_aligned=False, gene_effect=0.0, batch_effect=30.0)
    rows = score("perturbation_magnitude", judged)
    assert next(row for row in rows if row.level == "summary").p_value > 0.05


@pytest.mark.parametrize("n_x", [2, 5])
def test_permuted_measures_are_those_of_the_chosen_wells(n_x):
    rng = np.random.default_rng(0)
    wells = rng.standard_normal((12, 3))
    chosen = np.stack([rng.choice(12, n_x, replace=False) for _ in range(6)])
    found = two_group_measures(pairwise_distances(wells), chosen)
    for draw, rows in enumerate(chosen):
        energy, twice = naive_energy(wells[rows], np.delete(wells, rows, axis=0))
        np.testing.assert_allclose(found[:, draw], [energy / twice, energy])


def test_joint_measures_are_those_of_each_unit_by_itself():
    rng = np.random.default_rng(1)
    unit, plate = np.array([0, 0, 1, 1, 1, 2, 2]), np.array([0, 1, 0, 1, 2, 2, 2])
    control_plate = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    wells = rng.standard_normal((15, 4))
    order = rng.permutation(15)
    found = ManyGroups(unit, plate, control_plate).measures(pairwise_distances(wells), order)
    for number in range(3):
        x = wells[order[:7][unit == number]]
        y = wells[order[7:][np.isin(control_plate, plate[unit == number])]]
        energy, twice = naive_energy(x, y)
        np.testing.assert_allclose(found[:, number], [energy / twice, energy])


def test_an_influence_is_what_is_lost_without_the_control():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((3, 4)), rng.standard_normal((5, 4)) + 1
    influences = influences_of_others(pairwise_distances(np.concatenate([x, y])), 3)
    energy, twice = naive_energy(x, y)
    for control in range(5):
        less, twice_less = naive_energy(x, np.delete(y, control, axis=0))
        assert influences[control] == pytest.approx(energy / twice - less / twice_less)


def test_recall_is_the_share_of_known_pairs_in_the_outer_tenth(judge):
    judged = judge(seed=4)
    rows = score("known_relationships", judged)
    genes = judged.map_table.filter(judged.map_table["control_kind"].is_null())
    embedding = {row["perturbation_id"]: np.array(row["embedding"], dtype=float) for row in genes.to_dicts()}
    cosine = {
        (a, b): x @ y / np.linalg.norm(x) / np.linalg.norm(y)
        for (a, x), (b, y) in combinations(sorted(embedding.items()), 2)
    }
    ordered = np.sort(list(cosine.values()))
    known = [cosine[pair] for pair in judged.annotations.pairs["planted"].rows()]
    summary = {row.metric: row for row in rows if row.level == "summary"}
    for at, share in (("", 0.05), ("@0.1", 0.1)):
        similar = [np.mean(ordered < value - 1e-12) >= 1 - share for value in known]
        opposite = [np.mean(ordered <= value + 1e-12) <= share for value in known]
        assert summary[f"recall_similar{at}"].value == np.mean(similar)
        assert summary[f"recall_opposite{at}"].value == np.mean(opposite)
        assert summary[f"recall{at}"].value == np.mean(similar) + np.mean(opposite)
        assert summary[f"recall{at}"].null_mean == pytest.approx(2 * share, abs=0.03)


@pytest.mark.parametrize(("within", "length"), [("arm", 2), ("chromosome", 1)])
def test_pairs_of_one_chromosome_are_left_out_on_request(judge, within, length):
    judged = judge(seed=4, arm_effect=6.0, gene_effect=0.5, n_arms=4)
    arm_of = dict(judged.annotations.gene_arms["planted"].rows())
    genes = sorted(arm_of)
    known = [(a, b) for a, b in combinations(genes, 2) if arm_of[a] == arm_of[b] or (a < "GENE003" and b > "GENE030")]
    pairs = pl.DataFrame(known, schema=["entity1", "entity2"], orient="row")
    judged = replace(judged, annotations=replace(judged.annotations, pairs={"near": pairs}))
    rows = {row.metric: row for row in score("known_relationships", judged) if row.level == "summary"}
    without = score("known_relationships", judged, leave_out_within=within)
    kept = {row.perturbation_id for row in without if row.level == "perturbation"}
    assert kept == {f"{a}|{b}" for a, b in known if arm_of[a][:length] != arm_of[b][:length]}
    assert rows["recall"].p_value == 0.01
    assert next(row for row in without if row.metric == "recall").p_value > 0.05


def test_chromosomes_that_nobody_knows_cannot_be_left_out(judge):
    judged = judge(seed=4)
    judged = replace(judged, annotations=replace(judged.annotations, gene_arms={}))
    with pytest.raises(BenchmarkError, match="no annotation source says where genes are"):
        score("known_relationships", judged, leave_out_within="arm")


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_the_headline_is_the_mean_of_its_units(judge, name):
    rows = score(name, judge(seed=6, **EVERYTHING))
    chosen = BENCHMARKS[name]
    headline = next(row for row in rows if row.level == "summary" and row.metric == chosen.headline_metric)
    values = unit_values(rows, chosen.unit_metric)
    assert headline.value == pytest.approx(np.mean(list(values.values())))
    assert headline.n_units == len(values)
    if headline.interval_low is None:
        assert np.ptp(list(values.values())) == 0
    else:
        assert headline.interval_low <= headline.value <= headline.interval_high


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_blocks_do_not_change_a_score(judge, monkeypatch, name):
    judged = judge(seed=7, **EVERYTHING)
    whole = score(name, judged)
    monkeypatch.setattr(statistics, "BLOCK_VALUES", 300)
    assert score(name, judged) == whole


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_equal_seeds_give_equal_scores_and_others_give_others(judge, name):
    judged = judge(seed=8, **EVERYTHING)
    first = score(name, judged)
    assert score(name, judged) == first
    assert score(name, judged, seed=6) != first


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_the_order_of_the_wells_does_not_change_a_value(judge, name):
    judged = judge(seed=9, **EVERYTHING)
    order = np.random.default_rng(0).permutation(judged.wells.height)
    turned = judged.with_wells(order)
    metric = NOT_OF_ITS_NULL.get(name, BENCHMARKS[name].unit_metric)
    found = unit_values(score(name, turned), metric)
    assert found == pytest.approx(unit_values(score(name, judged), metric), abs=1e-6)


def test_many_perturbations_are_judged_jointly_by_some_of_them(judge):
    judged = judge(seed=10)
    few = score("perturbation_magnitude", judged, max_joint_wells=40)
    every = score("perturbation_magnitude", judged)
    assert few[0].value == every[0].value
    assert few[0].null_high > every[0].null_high  # of fewer perturbations
    assert few[0].p_value == every[0].p_value == 0.01


def test_combinations_are_no_genes_among_which_pairs_are_ranked(judge):
    """Those of a gene are alike for that gene, and would fill both tails."""
    judged = judge(seed=1, n_combinations=12)
    names = judged.map_table["gene_symbol"].fill_null("")
    genes = replace(judged, map_table=judged.map_table.filter(~names.str.contains("+", literal=True)))
    assert genes.map_table.height == judged.map_table.height - 12
    with_combinations, without = (score("known_relationships", one) for one in (judged, genes))
    assert [(row.value, row.perturbation_id) for row in with_combinations] == [
        (row.value, row.perturbation_id) for row in without
    ]


def test_the_z_score_is_the_distance_from_the_null_in_its_deviations(judge):
    null = np.array([1.0, 2.0, 3.0])
    assert statistics.standardised(4.0, null) == pytest.approx(2.0 / null.std())
    assert statistics.standardised(4.0, np.ones(3)) is None
    rows = score("perturbation_magnitude", judge(seed=1))
    headline = next(row for row in rows if row.level == "summary" and row.metric == "magnitude")
    assert headline.z_score > 5


def test_the_effect_size_is_the_share_of_what_is_possible_beyond_chance():
    assert statistics.share_of_possible(0.28, 0.1, 1.0) == pytest.approx(0.2)
    assert statistics.share_of_possible(0.1, 0.1, 1.0) == 0.0
    assert statistics.share_of_possible(1.0, 0.1, 1.0) == 1.0
    assert statistics.share_of_possible(-0.8, 0.1, 1.0) == pytest.approx(-1.0)
    assert statistics.share_of_possible(0.25, 1.0, 0.0) == 0.75  # batch mixing: separate at 0
    assert statistics.share_of_possible(5.0, 1.0, np.inf) is None
    assert statistics.share_of_possible(1.0, 1.0, 1.0) is None


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("perturbation_magnitude", "magnitude"),
        ("perturbation_consistency", "consistency"),
        ("perturbation_consistency", "consistency_percentile"),
        ("phenotypic_activity", "mean_average_precision"),
        ("known_relationships", "recall"),
    ],
)
def test_the_effect_size_does_not_grow_with_the_number_of_perturbations_and_the_z_score_does(judge, name, metric):
    found = np.empty((2, 3, 2))
    for size, n_complexes in enumerate((6, 24)):
        for seed in range(3):
            judged = judge(seed=seed + 1, n_complexes=n_complexes, n_lone_genes=n_complexes)
            headline = next(row for row in score(name, judged) if row.metric == metric and row.level == "summary")
            found[size, seed] = headline.effect_size, headline.z_score
    (few_effect, few_z), (many_effect, many_z) = found.mean(axis=1)
    assert 0.75 < many_effect / few_effect < 1.3
    assert many_z / few_z > 1.15


def test_the_score_of_a_single_perturbation_has_no_interval(judge):
    judged = judge(seed=1)
    alone = replace(judged, is_treatment=judged.is_treatment & (np.array(judged.units) == "GENE000"))
    (headline,) = [row for row in score("perturbation_magnitude", alone) if row.level == "summary"]
    assert headline.n_units == 1
    assert (headline.interval_low, headline.interval_high) == (None, None)


@pytest.mark.parametrize("name", ["perturbation_magnitude", "phenotypic_activity"])
def test_a_null_distribution_of_a_part_of_the_wells_says_of_how_many(judge, name):
    """36 genes of 6 wells each."""
    judged = judge(seed=1)
    for n_most, expected in ((216, {None}), (215, {210}), (100, {96})):
        rows = score(name, judged, max_joint_wells=n_most)
        assert {row.n_null_wells for row in rows if row.level == "summary"} == expected
        assert {row.n_null_wells for row in rows if row.level == "perturbation"} == {None}


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_every_summary_has_an_effect_size_between_chance_and_the_end_of_its_scale(judge, name):
    rows = score(name, judge(seed=1, **EVERYTHING))
    for row in rows:
        if row.metric in WITHOUT_SCALE or row.metric.endswith("over_correction"):
            assert row.effect_size is None
            continue
        is_beyond = row.value < row.null_mean if row.metric == "batch_mixing" else row.value > row.null_mean
        assert (row.effect_size > 0) == is_beyond
        assert row.effect_size <= 1
