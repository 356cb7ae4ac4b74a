"""Designs: invalid ones are refused with the reason, valid ones give their experiments, plates and wells."""

import pytest

from cellassets.errors import ConfigError
from cellassets.synthetic.presets import demo_design, tiny_design


def test_experiments_are_named_as_in_rxrx1():
    design = tiny_design()
    assert design.experiments == {"HUVEC-1": "HUVEC", "HUVEC-2": "HUVEC", "U2OS-1": "U2OS"}
    assert design.plate_ids == ("Plate1",)


def test_demo_fills_its_plates_and_makes_2688_sites():
    design = demo_design()
    n_used = design.n_treatment_wells + design.n_negative_controls + design.n_positive_controls
    assert n_used == design.n_wells == 96
    assert len(design.experiments) * design.n_plates_per_experiment * n_used * design.n_sites_per_well == 2_688
    assert design.n_inert_genes == 6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_guides_per_gene": 3}, "48 wells, but 64 treatments and 18 controls need 82"),
        ({"inert_frac": 0.9}, "expected at least 30 genes"),
        ({"n_opposite_pairs": 3}, "at most half of 4 complexes"),
        ({"cell_types": []}, "cell_types"),
        ({"cell_types": [{"name": "HUVEC", "n_experiments": 1}] * 2}, "each named once"),
        ({"cell_types": [{"name": "HUVEC|2", "n_experiments": 1}]}, "cannot be a partition key"),
        ({"doses_um": [1.0, 1.0]}, "different doses"),
        ({"n_positive_control_kinds": 5}, "positive control wells"),
        ({"cell_diameter_px": 80}, "at most half"),
        ({"n_colums": 8}, "n_colums"),
    ],
)
def test_an_invalid_design_is_refused_with_the_reason(changes, said):
    with pytest.raises(ConfigError, match="tiny_design") as refusal:
        tiny_design(**changes)
    assert said in str(refusal.value)
