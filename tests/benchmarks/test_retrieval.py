"""Retrieval against naive loops written from the definitions: average precision, shared labels, held-out batches."""

from collections import Counter

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.definition import Influence
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.retrieval import phenotypic_activity
from cellassets.benchmarks.retrieval.labelled_profiles import labelled_profiles
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.mapping.neighbours import nearest_elsewhere
from cellassets.statistics.average_precision import (
    average_precisions,
    expected_average_precision,
    grouped_queries,
    ranks_of_others,
)

QUICK = {"n_permutations": 99, "seed": 5}


def score(name, judged, **parameters):
    chosen = BENCHMARKS[name]
    return chosen.score(judged, chosen.parameters(**{**QUICK, **parameters}))


def unit_values(rows, metric="mean_average_precision"):
    return {row.perturbation_id: row.value for row in rows if row.level == "perturbation" and row.metric == metric}


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def naive_ap(query, positives, negatives):
    """Mean over the positives of the share of positives among what is at least as similar to the query."""
    listed = sorted(
        [(cosine(query, x), True) for x in positives] + [(cosine(query, x), False) for x in negatives], reverse=True
    )
    hits, precisions = 0, []
    for place, (_, is_positive) in enumerate(listed, start=1):
        hits += is_positive
        if is_positive:
            precisions.append(hits / place)
    return np.mean(precisions)


@pytest.mark.parametrize("is_across_plates", [False, True])
def test_activity_is_the_mean_average_precision_of_replicates_before_controls(judge, is_across_plates):
    judged = judge(seed=1, n_batches=2, n_guides_per_gene=2)
    rows = score("phenotypic_activity", judged, is_across_plates=is_across_plates)
    vectors, units = judged.vectors.astype(np.float64), np.array(judged.units)
    controls = vectors[judged.is_held_out_control]
    for gene in ("GENE000", "GENE020"):
        wells = np.flatnonzero(units == gene)
        assert len(wells) == 8
        found = []
        for well in wells:
            others = [w for w in wells if w != well]
            if is_across_plates:
                others = [w for w in others if judged.plate_index[w] != judged.plate_index[well]]
            found.append(naive_ap(vectors[well], vectors[others], controls))
        assert unit_values(rows)[gene] == pytest.approx(np.mean(found), abs=1e-6)
        chance = expected_average_precision(np.array([len(others)]), np.array([len(controls)]))[0]
        normalised = unit_values(rows, "normalised_average_precision")[gene]
        assert normalised == pytest.approx(np.mean([(ap - chance) / (1 - chance) for ap in found]), abs=1e-6)


def test_chance_is_the_mean_over_all_orders():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(20_000):
        place = np.sort(rng.permutation(9)[:3]) + 1
        found.append((np.arange(1, 4) / place).mean())
    assert expected_average_precision(np.array([3]), np.array([6]))[0] == pytest.approx(np.mean(found), abs=0.005)
    assert expected_average_precision(np.array([1]), np.array([1]))[0] == pytest.approx(0.75)


@pytest.mark.parametrize("are_others_negatives", [False, True])
def test_permuted_average_precisions_are_those_of_the_wells_in_the_places(are_others_negatives):
    rng = np.random.default_rng(1)
    wells = rng.standard_normal((9, 4))
    ranks = ranks_of_others(wells / np.linalg.norm(wells, axis=1, keepdims=True))
    placed = np.stack([rng.permutation(9) for _ in range(5)])
    partners = [np.array([1, 2, 5]), np.array([0, 2]), np.array([3])]
    flags = [np.array([True, True, False]), np.array([True, True]), np.array([False])]
    groups = grouped_queries([0, 1, 2], partners, flags)
    assert sorted(number for group in groups for number in group.number) == [0, 1]
    for group in groups:
        found = average_precisions(group, ranks, placed, are_others_negatives=are_others_negatives)
        for column, number in enumerate(group.number):
            positives, left_out = partners[number][flags[number]], partners[number][~flags[number]]
            others = set(range(9)) - {number} - set(partners[number].tolist())
            negatives = sorted(others) if are_others_negatives else left_out
            if not len(negatives):
                continue
            for draw, order in enumerate(placed):
                expected = naive_ap(wells[order[number]], wells[order[positives]], wells[order[negatives]])
                assert found[draw, column] == pytest.approx(expected, abs=1e-6)


def test_an_influence_is_what_is_lost_without_the_control(judge):
    judged = judge(seed=2, n_batches=2)
    chosen = BENCHMARKS["phenotypic_activity"]
    rows = score("phenotypic_activity", judged)
    influences = [r for r in chosen.rows(judged, chosen.parameters(**QUICK)) if isinstance(r, Influence)]
    held_out = np.flatnonzero(judged.is_held_out_control)
    names = judged.wells.select(pl.concat_str("experiment_id", "plate_id", "well_id", separator="/")).to_series()
    for metric in phenotypic_activity.METRICS:
        value = next(r.value for r in rows if r.level == "summary" and r.metric == metric)
        lost = {r.shared_id: r.influence for r in influences if r.metric == metric}
        assert len(lost) == len(held_out)
        for control in held_out[:3]:
            is_left = judged.is_held_out_control & (np.arange(len(judged.units)) != control)
            less = score("phenotypic_activity", type(judged)(**{**vars(judged), "is_held_out_control": is_left}))
            without = next(r.value for r in less if r.level == "summary" and r.metric == metric)
            assert lost[names[int(control)]] == pytest.approx(value - without, abs=1e-6)


def test_the_joint_draws_observe_what_each_perturbation_observes(judge):
    judged = judge(seed=3, n_batches=2, plate_share=(0.5, 1.0))
    parameters = BENCHMARKS["phenotypic_activity"].parameters(**QUICK)
    rng = np.random.default_rng(0)
    compared = phenotypic_activity._compared(judged, parameters, rng)
    own, _ = phenotypic_activity.own_draws(compared, parameters, rng)
    joint, _ = phenotypic_activity._joint_draws(compared, parameters, rng)
    np.testing.assert_allclose(joint[:, 0], own[:, 0], atol=1e-6)


def profiles_of(judged, names):
    return {
        name: judged.vectors[np.array(names) == name].astype(np.float64).mean(axis=0) for name in sorted(set(names))
    }


def test_guides_of_a_gene_are_retrieved_among_all_other_guides(judge):
    judged = judge(seed=4, n_guides_per_gene=3, n_lone_genes=4, n_combinations=2)
    treated = judged.wells.filter(
        pl.Series(judged.is_treatment) & ~pl.col("gene_symbol").str.contains("+", literal=True)
    )
    profiles = profiles_of(judged, judged.wells["perturbation_id"].to_list())
    gene = dict(treated.select("perturbation_id", "gene_symbol").rows())
    found = unit_values(score("phenotypic_consistency", judged))
    assert sorted(found) == sorted(set(gene.values()))
    for name in ("GENE000", "GENE010"):
        own = [guide for guide in gene if gene[guide] == name]
        values = [
            naive_ap(
                profiles[guide],
                [profiles[other] for other in own if other != guide],
                [profiles[other] for other in gene if gene[other] != name],
            )
            for guide in own
        ]
        assert found[name] == pytest.approx(np.mean(values), abs=1e-6)


def test_a_member_of_two_sets_asks_for_each_and_the_others_are_left_out(judge):
    sets = {
        "a": ["GENE000", "GENE001", "GENE002"],
        "b": ["GENE002", "GENE003", "STRANGER"],
        "c": ["GENE004", "GENE005"],
    }
    rows = [(name, member) for name, members in sets.items() for member in members]
    table = pl.DataFrame(rows, schema=["set_id", "member"], orient="row")
    judged = judge(seed=5, annotations={"sets": {"mine": table}})
    found = unit_values(score("phenotypic_consistency", judged, label="set"))
    assert sorted(found) == ["a", "b", "c"]
    profiles = profiles_of(judged, judged.units)
    in_map = [f"GENE00{n}" for n in range(6)]
    values = []
    for member in ("GENE002", "GENE003"):
        other = {"GENE002": "GENE003", "GENE003": "GENE002"}[member]
        sharing = {m for members in sets.values() if member in members for m in members}
        negatives = [profiles[m] for m in in_map if m not in sharing]
        values.append(naive_ap(profiles[member], [profiles[other]], negatives))
    assert found["b"] == pytest.approx(np.mean(values), abs=1e-6)


def test_doses_of_a_compound_are_not_what_is_to_be_found(judge):
    targets = pl.DataFrame({"compound_id": ["CMPD000", "CMPD001", "CMPD002"], "gene_symbol": ["X", "X", "Y"]})
    judged = judge(seed=6, n_compounds=3, n_doses=2, annotations={"targets": {"mine": targets}})
    with pytest.raises(NotApplicable, match="all perturbations share one label"):
        score("phenotypic_consistency", judged, label="target")
    targets = pl.concat([targets, pl.DataFrame({"compound_id": ["CMPD003"], "gene_symbol": ["Y"]})])
    judged = judge(seed=6, n_compounds=4, n_doses=2, annotations={"targets": {"mine": targets}})
    profiles = profiles_of(judged, judged.wells["perturbation_id"].to_list())
    doses = {c: [name for name in profiles if name.startswith(c)] for c in targets["compound_id"]}
    values = [
        naive_ap(
            profiles[dose],
            [profiles[d] for d in doses[other]],
            [profiles[d] for c in ("CMPD002", "CMPD003") for d in doses[c]],
        )
        for compound, other in (("CMPD000", "CMPD001"), ("CMPD001", "CMPD000"))
        for dose in doses[compound]
    ]
    found = unit_values(score("phenotypic_consistency", judged, label="target"))
    assert found["X"] == pytest.approx(np.mean(values), abs=1e-6)


def test_compounds_change_places_with_all_their_doses(judge):
    judged = judge(seed=7, n_compounds=24, n_doses=3, n_complexes=2, n_lone_genes=4)
    limits = {"max_members": 200, "max_perturbations": 6000}
    found = labelled_profiles(judged, "target", judged.plate_index, **limits, rng=np.random.default_rng(0))
    order = found.permuted(np.random.default_rng(1))
    assert sorted(order) == list(range(len(order)))
    assert (order != np.arange(len(order))).any()
    np.testing.assert_array_equal(order % 3, np.arange(len(order)) % 3)
    assert max(Counter(zip(found.identity, found.identity[order], strict=True)).values()) == 3


def test_a_screen_without_labels_is_not_judged_by_them(judge):
    with pytest.raises(NotApplicable, match="no gene has two guides among the 36"):
        score("phenotypic_consistency", judge(seed=8))
    with pytest.raises(NotApplicable, match="none of 0 set sources"):
        score("phenotypic_consistency", judge(seed=8, annotations={}), label="set")
    with pytest.raises(NotApplicable, match="no gene has two guides"):
        score("phenotypic_consistency", judge(seed=8, n_guides_per_gene=3), max_members=2)


def test_some_labels_are_drawn_where_there_are_too_many(judge):
    judged = judge(seed=9, n_guides_per_gene=2)
    found = unit_values(score("phenotypic_consistency", judged, max_perturbations=20))
    assert len(found) == 10


def test_a_screen_on_one_plate_has_no_replicates_on_other_plates(judge):
    judged = judge(seed=10, n_batches=1, n_plates_per_batch=1, n_guides_per_gene=2)
    assert score("phenotypic_activity", judged)
    with pytest.raises(NotApplicable, match="none of 36 perturbations is on two plates"):
        score("phenotypic_activity", judged, is_across_plates=True)


@pytest.mark.parametrize("n_neighbours", [1, 3])
def test_neighbours_are_the_nearest_of_other_groups(n_neighbours):
    rng = np.random.default_rng(0)
    unit = rng.standard_normal((40, 5))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    group = rng.integers(0, 4, 40)
    queries = rng.permutation(40)[:25]
    found = nearest_elsewhere(unit, queries, group, n_neighbours=n_neighbours)
    for row, query in enumerate(queries):
        elsewhere = np.flatnonzero(group != group[query])
        expected = elsewhere[np.argsort(unit[elsewhere] @ unit[query])[-n_neighbours:]]
        assert set(found[row]) == set(expected)


def naive_probe(train, train_label, test):
    """Label of the nearest class mean, by the inverse of the shrunk total covariance, written out."""
    centred = train - train.mean(axis=0)
    sample = centred.T @ centred / len(train)
    scale = np.trace(sample) / len(sample)
    target = scale * np.eye(len(sample))
    noise = np.mean([((np.outer(row, row) - sample) ** 2).sum() for row in centred]) / len(train)
    weight = min(noise / ((sample - target) ** 2).sum(), 1.0)
    inverse = np.linalg.inv(weight * target + (1 - weight) * sample)
    names = np.unique(train_label)
    means = np.stack([train[train_label == name].mean(axis=0) for name in names])
    return [names[np.argmin([(x - m) @ inverse @ (x - m) for m in means])] for x in test]


@pytest.mark.parametrize("split_by", ["batch", "plate"])
def test_held_out_wells_are_classified_as_loops_say(judge, split_by):
    judged = judge(seed=11, n_batches_per_treatment=2, n_lone_genes=3, n_complexes=3)
    rows = score("held_out_batch_classification", judged, split_by=split_by)
    wells = judged.vectors[judged.is_treatment].astype(np.float64)
    label = np.array(judged.units)[judged.is_treatment]
    plate = judged.plate_index[judged.is_treatment]
    batch = judged.wells["batch_id"].to_numpy()[judged.is_treatment]
    group = {"batch": batch, "plate": plate}[split_by]
    nearest, probed = {}, {}
    for held_out in np.unique(group):
        train = group != held_out
        tested = [w for w in np.flatnonzero(~train) if label[w] in label[train]]
        told = naive_probe(wells[train], label[train], wells[tested])
        for well, answer in zip(tested, told, strict=True):
            cosines = [cosine(wells[well], other) for other in wells[train]]
            nearest.setdefault(label[well], []).append(label[train][np.argmax(cosines)] == label[well])
            probed.setdefault(label[well], []).append(answer == label[well])
    for metric, expected in (("nearest_neighbour_accuracy", nearest), ("linear_probe_accuracy", probed)):
        found = unit_values(rows, metric)
        assert found == pytest.approx({name: np.mean(hits) for name, hits in expected.items()})


def test_fewer_splits_and_fewer_probed_wells_judge_a_part(judge):
    judged = judge(seed=12, n_batches=4, n_lone_genes=3, n_complexes=3)
    rows = score("held_out_batch_classification", judged, n_splits=2, max_probe_wells=12)
    n_wells = {(r.metric, r.n_units) for r in rows if r.level == "perturbation"}
    assert n_wells == {("nearest_neighbour_accuracy", 4), ("linear_probe_accuracy", 1)}


def test_one_batch_or_no_perturbation_in_two_cannot_be_held_out(judge):
    with pytest.raises(NotApplicable, match="none of 36 perturbations has wells in two of 1 batches"):
        score("held_out_batch_classification", judge(seed=13, n_batches=1))
    apart = judge(seed=13, n_batches=2, n_batches_per_treatment=1)
    with pytest.raises(NotApplicable, match="in two of 2 batches"):
        score("held_out_batch_classification", apart)
    assert score("held_out_batch_classification", apart, split_by="plate")


def test_activity_without_held_out_controls_is_refused(judge):
    judged = judge(seed=14)
    judged = type(judged)(**{**vars(judged), "is_held_out_control": np.zeros(len(judged.units), dtype=bool)})
    with pytest.raises(BenchmarkError, match=r"held_out_controls_frac in mapping\.yaml"):
        score("phenotypic_activity", judged)
