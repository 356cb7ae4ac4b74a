"""Benchmarks of known biology and of transfer against naive loops written from their definitions, and scipy."""

from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl
import pytest
from scipy import stats

from cellassets.benchmarks.compounds import potency
from cellassets.benchmarks.compounds.compound_targets import area_under_curve, average_precision
from cellassets.benchmarks.compounds.potency import half_effect_dose, rank_correlations
from cellassets.benchmarks.definition import Influence
from cellassets.benchmarks.effect_size import effect_sizes
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.knowledge.annotations import Annotations
from cellassets.mapping.controls import is_negative_control
from cellassets.mapping.relate import combination_parts, is_combination
from cellassets.statistics.dose_trend import page_ranks, pair_signs
from cellassets.statistics.neighbour_sharing import jaccard_index, partner_shares
from cellassets.statistics.rank_overlap import overlap_depth, overlap_weights
from cellassets.tables.parquet import vectors, with_vectors

NEW = ("analogies", "cell_type_generalisation", "compound_targets", "dose_response", "proximity_bias")


def score(name, judged, **parameters):
    chosen = BENCHMARKS[name]
    return chosen.score(judged, chosen.parameters(**{"n_permutations": 99, "seed": 5, **parameters}))


def influences(name, judged, metric):
    chosen = BENCHMARKS[name]
    rows = chosen.rows(judged, chosen.parameters(n_permutations=99, seed=5))
    return {row.shared_id: row.influence for row in rows if isinstance(row, Influence) and row.metric == metric}


def unit_values(rows, metric):
    return {row.perturbation_id: row.value for row in rows if row.level == "perturbation" and row.metric == metric}


def summaries(rows):
    return {row.metric: row for row in rows if row.level == "summary"}


def unit_vectors(map_table):
    values = vectors(map_table.filter(pl.col("control_kind").is_null())).astype(np.float64)
    names = map_table.filter(pl.col("control_kind").is_null())["perturbation_id"].to_list()
    return {name: value / np.linalg.norm(value) for name, value in zip(names, values, strict=True)}


# --- targets of compounds


def naive_targets(judged, candidates):
    """Average precision and AUROC by compound, walking down the ranking gene by gene and over all pairs."""
    unit, known = unit_vectors(judged.map_table), judged.annotations.targets["planted"]
    found = {}
    for compound in known["compound_id"].unique():
        targets = set(known.filter(pl.col("compound_id") == compound)["gene_symbol"])
        profiles = [vector for name, vector in unit.items() if name.startswith(f"{compound}@")]
        similarity = {gene: max(abs(float(vector @ unit[gene])) for vector in profiles) for gene in candidates}
        ranked = sorted(candidates, key=lambda gene, s=similarity: -s[gene])
        precision = [
            sum(other in targets for other in ranked[:rank]) / rank
            for rank, gene in enumerate(ranked, start=1)
            if gene in targets
        ]
        wins = [
            similarity[gene] > similarity[other]
            for gene, other in product(targets, candidates)
            if gene in similarity and other not in targets
        ]
        found[compound] = np.mean(precision), np.mean(wins)
    return found


@pytest.mark.parametrize("candidates", ["targets", "all_genes"])
def test_targets_are_ranked_by_the_largest_cosine_over_doses(judge, candidates):
    judged = judge(seed=1, n_batches=2, n_compounds=10, n_doses=3, n_combinations=4)
    more = pl.DataFrame({"compound_id": ["CMPD002", "CMPD003"], "gene_symbol": ["GENE009", "GENE000"]})
    known = pl.concat([judged.annotations.targets["planted"], more])
    judged = replace(judged, annotations=Annotations(targets={"planted": known}))
    genes = {"targets": known["gene_symbol"].unique().to_list(), "all_genes": [f"GENE{n:03d}" for n in range(36)]}
    rows = score("compound_targets", judged, candidates=candidates)
    expected = naive_targets(judged, genes[candidates])
    precision, auroc = (unit_values(rows, metric) for metric in ("target_average_precision", "target_auroc"))
    assert precision == pytest.approx({name: value for name, (value, _) in expected.items()})
    assert auroc == pytest.approx({name: value for name, (_, value) in expected.items()})


def test_precision_and_area_of_a_ranking_worked_by_hand():
    assert average_precision(np.array([[4.0, 2.0]]))[0] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert area_under_curve(np.array([[4.0, 2.0]]), 6)[0] == pytest.approx(5 / 8)  # of 4 pairs each loses 1 and 2


def test_each_source_of_targets_has_rows_of_its_own(judge):
    judged = judge(seed=1, n_batches=2, n_compounds=10, n_doses=3)
    known = judged.annotations.targets["planted"]
    two = Annotations(targets={"first": known.head(5), "second": known.tail(6)})
    found = summaries(score("compound_targets", replace(judged, annotations=two)))
    assert {"target_average_precision[first]", "target_auroc[second]"} <= found.keys()
    assert found["target_average_precision[first]"].n_units == 5
    assert found["target_average_precision"].n_units == 10


# --- dose response


def naive_trend(judged, compound):
    """Pairs of wells of one plate in which the higher dose has the larger effect, less the others."""
    effect = effect_sizes(judged)
    own = np.flatnonzero((judged.wells["compound_id"] == compound).fill_null(value=False).to_numpy())
    dose, total, n_pairs = judged.wells["concentration_um"].to_numpy(), 0.0, 0
    for i in own:
        for j in own:
            if judged.plate_index[i] == judged.plate_index[j] and dose[i] < dose[j]:
                n_pairs += 1
                total += float(np.sign(effect[j] - effect[i]))
    return total / n_pairs


def test_the_trend_is_jonckheeres_over_pairs_of_one_plate(judge):
    judged = judge(seed=2, n_batches=2, n_compounds=6, n_doses=4, plate_share=(0.4, 1.0))
    found = unit_values(score("dose_response", judged), "dose_trend")
    assert found == pytest.approx({name: naive_trend(judged, name) for name in found})
    assert len(found) == 6


def test_an_effect_is_the_distance_from_seen_controls_of_the_plate(judge):
    judged = judge(seed=2, n_batches=2)
    seen = is_negative_control(judged.wells) & ~judged.is_held_out_control
    centre = judged.vectors[seen & (judged.plate_index == judged.plate_index[7])].mean(axis=0)
    assert effect_sizes(judged)[7] == pytest.approx(np.linalg.norm(judged.vectors[7] - centre), rel=1e-5)


def test_an_effect_on_a_plate_without_seen_controls_is_taken_from_its_batch(judge):
    judged = judge(seed=2, n_batches=2)
    judged = replace(judged, is_held_out_control=judged.is_held_out_control | (judged.plate_index == 0))
    seen = is_negative_control(judged.wells) & ~judged.is_held_out_control
    centre = judged.vectors[seen & (judged.wells["batch_id"] == "SIM-1").to_numpy()].mean(axis=0)
    well = int(np.flatnonzero(judged.plate_index == 0)[3])
    assert effect_sizes(judged)[well] == pytest.approx(np.linalg.norm(judged.vectors[well] - centre), rel=1e-5)


def test_pages_statistic_is_scipys():
    rng = np.random.default_rng(0)
    effect = rng.standard_normal((5, 6))
    found = page_ranks(effect, np.tile(np.arange(6), (1, 5, 1)).astype(np.int16))[0].mean()
    middle, most = 5 * 6 * 7**2 / 4, 5 * np.arange(1, 7) @ np.arange(1, 7)
    statistic = stats.page_trend_test(effect).statistic
    assert found == pytest.approx((statistic - middle) / (most - middle))


def test_signs_of_pairs_are_counted_with_ties():
    effect, dose = np.array([[1.0, 2.0, 2.0, 0.0]]), np.array([[[0, 0, 1, 2]]], dtype=np.int16)
    assert pair_signs(effect, dose)[0, 0] == 1 + 0 - 1 - 1 - 1  # pairs 0-2, 1-2, 0-3, 1-3, 2-3


def without(judged, is_lost):
    """The map without some of its wells."""
    arrays = ("vectors", "is_treatment", "is_held_out_control", "plate_index")
    return replace(
        judged,
        wells=judged.wells.filter(pl.Series(~is_lost)),
        units=tuple(np.array(judged.units)[~is_lost].tolist()),
        **{name: getattr(judged, name)[~is_lost] for name in arrays},
    )


def test_a_page_trend_asks_for_all_doses_on_a_plate(judge):
    judged = judge(seed=3, n_batches=2, n_compounds=6, n_doses=4)
    is_lost = (judged.wells["perturbation_id"] == "CMPD001@10uM").to_numpy()
    on_one_plate = score("dose_response", without(judged, is_lost & (judged.plate_index > 0)))
    assert summaries(on_one_plate)["page_trend"].n_units == 6
    moved = replace(judged, plate_index=np.where(is_lost, judged.plate_index.max() + 1, judged.plate_index))
    rows = score("dose_response", moved)
    assert summaries(rows)["page_trend"].n_units == 5
    assert summaries(rows)["dose_trend"].n_units == 6


def test_half_effect_doses_worked_by_hand():
    dose, n_wells = np.array([-1.0, 0.0, 1.0, 2.0]), np.full(4, 3)
    assert half_effect_dose(dose, np.array([1.0, 1.0, 2.0, 3.0]), n_wells, 1.0) == pytest.approx(1.0)
    assert half_effect_dose(dose, np.array([1.0, 2.0, 5.0, 5.0]), n_wells, 1.0) == pytest.approx(1 / 3)
    assert half_effect_dose(dose, np.array([5.0, 5.0, 5.0, 5.0]), n_wells, 1.0) == -1.0
    assert half_effect_dose(dose, np.array([3.0, 2.0, 1.0, 0.0]), n_wells, 2.0) == 2.0  # the curve is flat at 1.5


def test_rank_correlations_are_scipys(monkeypatch):
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 6, 30).astype(float), rng.integers(0, 9, 30).astype(float)
    orders = [rng.permutation(30) for _ in range(4)]
    expected = [stats.kendalltau(first, second[order]).statistic for order in orders]
    np.testing.assert_allclose(rank_correlations(first, second, orders), expected)
    monkeypatch.setattr(potency, "MAX_DENSE", 10)
    np.testing.assert_array_equal(rank_correlations(first, second, orders), expected)


def test_the_order_of_potency_is_kept_where_compounds_differ_in_it(judge):
    judged = judge(seed=4, n_batches=6, n_compounds=24, n_doses=6, compound_effect=12.0)
    row = summaries(score("dose_response", judged))["potency_order"]
    assert row.value > 0.6
    assert row.p_value == 0.01
    assert row.n_units == 24


# --- proximity bias


def test_the_probability_of_each_gene_is_brunner_and_munzels(judge):
    judged = judge(seed=5, arm_effect=1.0)
    unit, arm = unit_vectors(judged.map_table), dict(judged.annotations.gene_arms["planted"].rows())
    rows = score("proximity_bias", judged)
    found = unit_values(rows, "arm_proximity")
    for gene in ("GENE000", "GENE017"):
        cosines = {other: float(unit[gene] @ unit[other]) for other in unit if other != gene}
        within = [value for other, value in cosines.items() if arm[other] == arm[gene]]
        between = [value for other, value in cosines.items() if arm[other] != arm[gene]]
        expected = stats.mannwhitneyu(within, between).statistic / len(within) / len(between)
        assert found[gene] == pytest.approx(expected)
    by_arm = summaries(rows)["proximity_bias[1p]"]
    assert by_arm.value == pytest.approx(np.mean([value for gene, value in found.items() if arm[gene] == "1p"]))
    assert by_arm.n_units == 6


def test_a_partners_influence_is_what_the_others_lose_without_it(judge):
    judged = judge(seed=5, arm_effect=1.0)
    rows = score("proximity_bias", judged)
    influence = influences("proximity_bias", judged, "arm_proximity")
    before = unit_values(rows, "arm_proximity")
    for gene in ("GENE003", "GENE020"):
        fewer = replace(judged, map_table=judged.map_table.filter(pl.col("perturbation_id") != gene))
        after = unit_values(score("proximity_bias", fewer, min_genes=4), "arm_proximity")
        assert influence[gene] == pytest.approx(sum(before[name] - after[name] for name in after) / len(before))


def test_genes_of_small_arms_or_without_one_are_not_judged(judge):
    judged = judge(seed=5)
    arms = judged.annotations.gene_arms["planted"].head(20)
    few = replace(judged, annotations=Annotations(gene_arms={"planted": arms}))
    rows = score("proximity_bias", few, min_genes=3)
    assert unit_values(rows, "arm_proximity").keys() == {f"GENE{n:03d}" for n in range(20) if n % 6 < 2}
    with pytest.raises(NotApplicable, match=r"of 6 chromosome arms none has more than 5 of the map's genes"):
        score("proximity_bias", few)


# --- generalisation over cell types


def naive_overlap(first, second, persistence, depth):
    """RBO_EXT as published, depth by depth."""
    shares = [len(set(first[:d]) & set(second[:d])) / d for d in range(1, depth + 1)]
    total = sum(share * persistence**d for d, share in enumerate(shares, start=1))
    return (1 - persistence) / persistence * total + shares[-1] * persistence**depth


def test_rank_biased_overlap_is_the_published_sum():
    rng = np.random.default_rng(1)
    first, second = rng.permutation(30), rng.permutation(30)
    rank = {int(item): place for place, item in enumerate(second, start=1)}
    for persistence in (0.5, 0.9):
        depth = overlap_depth(20, persistence)
        weights = np.append(overlap_weights(depth, persistence), 0.0)
        lower = [max(place, rank[int(item)]) for place, item in enumerate(first[:depth], start=1)]
        found = weights[np.minimum(lower, depth + 1)].sum()
        assert found == pytest.approx(naive_overlap(first, second, persistence, depth))
    assert overlap_weights(7, 0.9)[1:].sum() == pytest.approx(1.0)  # equal lists


def test_neighbours_kept_are_the_jaccard_index_of_two_lists(judge):
    judged = judge(seed=6, n_batches=2, n_other_maps=2, own_share=0.3)
    rows = score("cell_type_generalisation", judged, n_neighbours=4)
    kept, overlap = (unit_values(rows, metric) for metric in ("neighbours_kept", "rank_biased_overlap"))
    here = unit_vectors(judged.map_table)
    for name in ("GENE000", "GENE030"):
        expected = []
        for table in judged.other_maps.values():
            there = unit_vectors(table)
            lists = [sorted(set(unit) - {name}, key=lambda o, u=unit: -float(u[o] @ u[name])) for unit in (here, there)]
            first, second = (set(ranked[:4]) for ranked in lists)
            expected.append((len(first & second) / len(first | second), naive_overlap(*lists, 0.9, 35)))
        assert (kept[name], overlap[name]) == pytest.approx(tuple(np.mean(expected, axis=0)))


def test_maps_are_compared_on_what_both_have(judge):
    judged = judge(seed=6, n_batches=2, n_other_maps=2)
    first, second = judged.other_maps
    tables = judged.other_maps | {second: judged.other_maps[second].filter(pl.col("perturbation_id") < "GENE015")}
    rows = score("cell_type_generalisation", replace(judged, other_maps=tables))
    assert summaries(rows)["neighbours_kept"].n_units == 36
    alone = replace(judged, other_maps={second: tables[second]})
    assert summaries(score("cell_type_generalisation", alone))["neighbours_kept"].n_units == 15
    with pytest.raises(NotApplicable, match=rf"has 18 perturbations in common with this one \({second} 15\)"):
        score("cell_type_generalisation", alone, n_neighbours=8)
    assert first in tables


def test_what_neighbours_add_sums_to_the_indices():
    rng = np.random.default_rng(2)
    here, there = (np.stack([rng.choice(np.delete(np.arange(9), i), 3, replace=False) for i in range(9)]) for _ in "ab")
    shared = [set(a) & set(b) for a, b in zip(here.tolist(), there.tolist(), strict=True)]
    expected = [sum((i in s) / (6 - len(s)) for s in shared) for i in range(9)]
    found = partner_shares(here, there)
    np.testing.assert_allclose(found, expected)
    assert found.sum() == pytest.approx(jaccard_index(np.array([len(s) for s in shared]), 3).sum())


def test_an_equal_map_keeps_every_neighbour(judge):
    judged = judge(seed=6, n_batches=2)
    rows = summaries(score("cell_type_generalisation", replace(judged, other_maps={"SAME": judged.map_table})))
    assert rows["neighbours_kept"].value == pytest.approx(1.0)
    assert rows["rank_biased_overlap"].value == pytest.approx(1.0)


# --- analogies


@pytest.mark.parametrize("candidates", ["all", "combinations"])
def test_combinations_are_ranked_by_cosine_to_the_sum_of_their_parts(judge, candidates):
    judged = judge(seed=7, n_batches=2, n_combinations=10)
    found = unit_values(score("analogies", judged, candidates=candidates), "analogy_reciprocal_rank")
    origin = judged.vectors[is_negative_control(judged.wells)].mean(axis=0).astype(np.float64)
    table = judged.map_table.filter(pl.col("control_kind").is_null())
    profile = dict(zip(table["perturbation_id"], vectors(table).astype(np.float64) - origin, strict=True))
    for name in (name for name in profile if "+" in name):
        first, second = name.split("+")
        total = profile[first] + profile[second]
        names = [other for other in profile if other not in (first, second) and (candidates == "all" or "+" in other)]
        cosine = {other: total @ profile[other] / np.linalg.norm(profile[other]) for other in names}
        rank = 1 + sum(value > cosine[name] for value in cosine.values())
        assert found[f"{first}|{second}"] == pytest.approx(1 / rank)
    assert len(found) == 10


def test_combinations_without_their_parts_are_not_asked_for(judge):
    judged = judge(seed=7, n_batches=2, n_combinations=10)
    fewer = judged.map_table.filter(pl.col("perturbation_id") != "GENE003")
    rows = score("analogies", replace(judged, map_table=fewer))
    assert summaries(rows)["analogy_hits"].n_units == 9
    assert {row.unit for row in rows if row.level == "perturbation"} == {"pair"}


def test_names_of_combinations():
    assert combination_parts("A+B") == ("A", "B")
    assert is_combination("A+B")
    assert not is_combination("A")
    assert not is_combination("Ca2+")
    assert not is_combination("+")


# --- what they share


def test_pairs_of_wells_have_no_trend_with_one_dose_a_plate(judge):
    judged = judge(seed=9, n_batches=2, n_compounds=5, n_doses=2)
    dose = judged.wells["concentration_um"].rank("dense").fill_null(0).to_numpy().astype(int)
    with pytest.raises(NotApplicable, match=r"of 5 compounds with a known dose none has two doses on one plate"):
        score("dose_response", replace(judged, plate_index=dose))


@pytest.mark.parametrize("name", NEW)
def test_a_screen_without_what_a_benchmark_is_about_has_no_score(judge, name):
    judged = replace(judge(seed=10, n_batches=2), annotations=Annotations())
    with pytest.raises(NotApplicable, match=name):
        score(name, judged)


@pytest.mark.parametrize("name", ["compound_targets", "proximity_bias"])
def test_several_rows_a_gene_are_refused(judge, name):
    judged = judge(seed=10, n_batches=2, n_compounds=4, n_doses=2)
    table = judged.map_table
    guides = table.filter(pl.col("perturbation_id") == "GENE000").with_columns(perturbation_id=pl.lit("GENE001"))
    doubled = pl.concat([table.filter(pl.col("perturbation_id") != "GENE001"), guides])
    with pytest.raises(BenchmarkError, match="several rows of one gene"):
        score(name, replace(judged, map_table=doubled))


def test_a_perturbation_of_zeros_is_ranked_last_and_not_first(judge):
    judged = judge(seed=11, n_batches=2, n_combinations=8)
    is_combined = [is_combination(name) for name in judged.map_table["perturbation_id"].to_list()]
    controls = judged.vectors[is_negative_control(judged.wells)].astype(np.float64).mean(axis=0)
    values = np.where(np.array(is_combined)[:, None], controls, vectors(judged.map_table))  # zero from the controls
    rows = score("analogies", replace(judged, map_table=with_vectors(judged.map_table, values)))
    assert summaries(rows)["analogy_reciprocal_rank"].value < 0.2
