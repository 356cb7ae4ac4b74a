"""What counts as a replicate: wells of one perturbation, wells of different guides, one well per plate."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.replicates.chosen_wells import PlateParameters, UnitParameters, chosen_wells
from cellassets.benchmarks.replicates.guides import guide_draws
from cellassets.errors import NotApplicable

QUICK = {"n_permutations": 99, "seed": 5}
GUIDES = {"n_guides_per_gene": 3, "n_batches": 2, "n_complexes": 2, "n_lone_genes": 3}


def score(name, judged, **parameters):
    chosen = BENCHMARKS[name]
    return chosen.score(judged, chosen.parameters(**{**QUICK, **parameters}))


def unit_values(rows, metric):
    return {row.perturbation_id: row.value for row in rows if row.level == "perturbation" and row.metric == metric}


def naive_cosines(judged, chosen):
    """The mean cosine over pairs of the chosen wells that are of different guides."""
    guides = judged.wells["perturbation_id"].to_list()
    wells = judged.vectors.astype(np.float64)
    wells /= np.linalg.norm(wells, axis=1, keepdims=True)
    return np.mean([wells[i] @ wells[j] for i, j in combinations(chosen, 2) if guides[i] != guides[j]])


def test_a_gene_of_several_guides_is_judged_by_pairs_of_wells_of_different_guides(judge):
    judged = judge(seed=1, plate_share=(0.5, 1.0), **GUIDES)
    values = unit_values(score("perturbation_consistency", judged), "consistency")
    units = np.array(judged.units)
    assert sorted(values) == [f"GENE{number:03d}" for number in range(9)]
    for gene, value in values.items():
        assert value == pytest.approx(naive_cosines(judged, np.flatnonzero(units == gene)), rel=1e-5)


def test_in_the_null_distribution_guides_change_genes_with_all_their_wells(judge):
    judged = judge(seed=2, gene_effect=0.0, **GUIDES)
    guides = judged.wells["perturbation_id"].to_numpy()
    names = [f"GENE{number:03d}" for number in range(9)]
    draws = guide_draws(judged, BENCHMARKS["perturbation_consistency"].parameters(**QUICK)).draws
    some_guides = sorted(set(guides[judged.is_treatment]))
    triples = {
        round(naive_cosines(judged, np.flatnonzero(np.isin(guides, three))), 5): three
        for three in combinations(some_guides, 3)
    }
    for value in draws[1:4].ravel():
        nearest = min(triples, key=lambda known: abs(known - value))
        assert abs(nearest - value) < 2e-5
    assert draws.shape == (100, len(names))


def test_genes_of_one_guide_stand_beside_genes_of_several(judge):
    judged = judge(seed=3, n_compounds=3, n_doses=2, **GUIDES)
    rows = score("perturbation_consistency", judged)
    values = unit_values(rows, "consistency")
    assert len(values) == 9 + 6
    compound = np.flatnonzero(np.array(judged.units) == "CMPD000@10uM")
    wells = judged.vectors[compound].astype(np.float64)
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in combinations(wells, 2)]
    assert values["CMPD000@10uM"] == pytest.approx(np.mean(cosines), rel=1e-5)


def test_guides_on_different_plates_have_no_null_distribution(judge):
    judged = judge(seed=4, **GUIDES)
    guide = np.unique(judged.wells["perturbation_id"].to_numpy(), return_inverse=True)[1]
    apart = replace(judged, plate_index=judged.plate_index + 4 * guide)
    with pytest.raises(NotApplicable, match="perturbation_consistency: no two of 27 guides"):
        score("perturbation_consistency", apart)
    assert score("perturbation_consistency", apart, exchange_within="batches")


def test_each_guide_can_be_the_unit(judge):
    judged = judge(seed=5, **GUIDES)
    found = unit_values(score("perturbation_consistency", judged, unit="perturbation"), "consistency")
    assert len(found) == 27
    assert unit_values(score("perturbation_magnitude", judged, unit="perturbation"), "magnitude").keys() == found.keys()
    assert set(chosen_wells(judged, UnitParameters(unit="perturbation")).units) == {*found, "EMPTY"}


def test_a_gene_is_classified_by_its_guides(judge):
    judged = judge(seed=6, **GUIDES)
    by_gene = unit_values(score("held_out_batch_classification", judged), "nearest_neighbour_accuracy")
    guides = replace(judged, units=tuple(judged.wells["perturbation_id"].to_list()))
    by_guide = unit_values(score("held_out_batch_classification", guides), "nearest_neighbour_accuracy")
    gene_of = dict(judged.wells.select("perturbation_id", "gene_symbol").unique().rows())
    assert len(by_guide) == 27
    for gene, value in by_gene.items():
        own = [found for guide, found in by_guide.items() if gene_of[guide] == gene]
        assert value == pytest.approx(np.mean(own))  # guides have equally many wells here


def test_one_well_of_a_unit_per_plate_is_kept_at_random(judge):
    judged = judge(seed=7, **GUIDES)
    found = chosen_wells(judged, PlateParameters(is_one_well_per_plate=True, seed=1))
    kept = pl.DataFrame({"unit": found.units, "plate": found.plate_index}).filter(pl.Series(found.is_treatment))
    assert kept.height == kept.unique().height == 9 * 4  # of three guides one is kept
    assert (~found.is_treatment).sum() == (~judged.is_treatment).sum()
    assert found.is_held_out_control.sum() == judged.is_held_out_control.sum()
    assert found.wells.height == len(found.vectors) == len(found.units)
    others = chosen_wells(judged, PlateParameters(is_one_well_per_plate=True, seed=2))
    assert not np.array_equal(found.vectors, others.vectors)
