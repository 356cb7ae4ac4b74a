"""Planted biology: shared and opposite directions, inert genes, dose responses, and the layout of plates."""

from collections import Counter

import numpy as np
import pytest

from cellassets.synthetic.biology import dose_response, plant_biology
from cellassets.synthetic.plate_map import map_plate, well_name, well_place
from cellassets.synthetic.presets import demo_design, tiny_design


@pytest.fixture(scope="module")
def design():
    return demo_design()


@pytest.fixture(scope="module")
def biology(design):
    return plant_biology(design)


def gene_effects(biology):
    return {p.gene_symbol: p.effect for p in biology.perturbations if p.gene_symbol}


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def test_genes_of_a_complex_share_a_direction_and_others_do_not(biology):
    effects = gene_effects(biology)
    within, between = [], []
    active = [p for p in biology.perturbations if p.gene_symbol and p.strength > 0]
    for i, first in enumerate(active):
        for second in active[i + 1 :]:
            value = cosine(effects[first.gene_symbol], effects[second.gene_symbol])
            is_within = first.complex_name is not None and first.complex_name == second.complex_name
            (within if is_within else between).append(value)
    assert len(within) == 9 * 6
    assert min(within) > 0.7
    assert np.abs(between).mean() < 0.4


def test_opposite_complexes_act_in_opposite_directions(biology):
    second = next(c for c in biology.complexes if c.opposite_of)
    first = next(c for c in biology.complexes if c.name == second.opposite_of)
    effects = gene_effects(biology)
    assert (first.sign, second.sign) == (1, -1)
    assert max(cosine(effects[a], effects[b]) for a in first.gene_symbols for b in second.gene_symbols) < -0.7


def test_inert_genes_and_negative_control_have_no_effect(biology):
    effects = gene_effects(biology)
    assert len(biology.inert_genes) == 6
    assert all(not effects[gene].any() for gene in biology.inert_genes)
    assert not biology.of_well_type("negative_control")[0].effect.any()


def test_strength_varies_by_gene_and_by_guide():
    biology = plant_biology(tiny_design(n_guides_per_gene=2, n_genes=12, complex_sizes=[4, 4], n_columns=12))
    strengths = [p.strength for p in biology.perturbations if p.gene_symbol and p.strength > 0]
    assert max(strengths) > 1.3 * min(strengths)
    assert len(set(strengths)) == len(strengths)


def test_dose_response_is_half_at_its_ec50_and_rises():
    assert dose_response(2.0, 2.0, 1.7) == 0.5
    assert dose_response(3.0, 1.0, 2.0) == pytest.approx(0.9)


def test_compound_gets_stronger_with_dose_along_its_target(biology):
    compound = next(c for c in biology.compounds if c.target)
    target = next(c for c in biology.complexes if c.name == compound.target)
    doses = [p for p in biology.perturbations if p.compound_id == compound.compound_id]
    strengths = [p.strength for p in sorted(doses, key=lambda p: p.concentration_um)]
    assert len(strengths) == 4
    assert strengths == sorted(strengths)
    assert cosine(doses[-1].effect, target.direction) > 0.9


def test_biology_does_not_depend_on_the_number_of_experiments(biology):
    more = plant_biology(demo_design(cell_types=[{"name": "RPE", "n_experiments": 7}]))
    for first, second in zip(biology.perturbations, more.perturbations, strict=True):
        np.testing.assert_array_equal(first.effect, second.effect)


def test_every_perturbation_is_once_on_every_plate_of_the_demo(design, biology):
    for plate_id in design.plate_ids:
        contents = Counter(p.perturbation_id for p in map_plate(design, biology, "HUVEC-1", plate_id).values())
        assert contents.pop("EMPTY") == 26
        assert contents.pop("POSITIVE1") + contents.pop("POSITIVE2") == 8
        assert set(contents) == {p.perturbation_id for p in biology.of_well_type("treatment")}
        assert set(contents.values()) == {1}


def test_treatments_are_spread_over_the_plates_of_an_experiment():
    design = tiny_design(n_plates_per_experiment=2, n_wells_per_perturbation=1)
    biology = plant_biology(design)
    dealt = Counter(
        p.perturbation_id for plate in design.plate_ids for p in map_plate(design, biology, "HUVEC-1", plate).values()
    )
    assert all(dealt[p.perturbation_id] == 1 for p in biology.of_well_type("treatment"))


def test_controls_are_in_the_middle_and_at_the_edge_of_a_plate(design, biology):
    plate = map_plate(design, biology, "HUVEC-1", "Plate1")
    places = [well_place(well) for well, p in plate.items() if p.well_type == "negative_control"]
    n_edge = sum(row in (0, design.n_rows - 1) or column in (0, design.n_columns - 1) for row, column in places)
    assert 0 < n_edge < len(places) / 2 + 6
    assert len({row for row, _ in places}) == design.n_rows


def test_wells_are_randomised_plate_by_plate(design, biology):
    layouts = {
        tuple(p.perturbation_id for p in map_plate(design, biology, experiment, plate).values())
        for experiment in design.experiments
        for plate in design.plate_ids
    }
    assert len(layouts) == len(design.experiments) * len(design.plate_ids)


@pytest.mark.parametrize(("place", "name"), [((0, 0), "A01"), ((1, 6), "B07"), ((26, 0), "AA01"), ((31, 47), "AF48")])
def test_well_names_and_places_correspond(place, name):
    assert well_name(*place) == name
    assert well_place(name) == place
