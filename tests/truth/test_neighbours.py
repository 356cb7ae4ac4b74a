"""Two wells of a perturbation side by side on plates with smooth differences, and nothing that acts.

Replicates are then alike because they are neighbours. One well per plate stands for both where the layout is a new one
on every plate; p-values are then calibrated.
"""

import numpy as np
import pytest
from scipy.stats import binom

from cellassets.studies.simulated import simulate_map
from cellassets.synthetic.embeddings import SimulatedWells
from cellassets.synthetic.well_places import smooth_field

N_SCREENS = 200
FIELDS = {"n_batches": 4, "n_plates_per_batch": 1, "n_wells_per_plate": 2, "field_effect": 4.0, "gene_effect": 0.0}
SMALL = {"n_complexes": 6, "n_lone_genes": 6, "n_controls_per_plate": 16, "n_features": 20}
SETTINGS = {
    "perturbation_consistency": {},
    "perturbation_magnitude": {},
    "phenotypic_activity": {"is_across_plates": True},
    "held_out_batch_classification": {},
}


def screen(seed, **design):
    return simulate_map(SimulatedWells(**{"seed": seed, "layout": "new", **FIELDS, **SMALL, **design}))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_with_one_well_per_plate_neighbours_are_not_taken_for_alike(n_of, score_by, headline_of, name):
    n_screens, settings = n_of(N_SCREENS, 0.06), {**SETTINGS[name], "is_one_well_per_plate": True}
    rows = [headline_of(name, score_by(name, screen(seed), seed, **settings)) for seed in range(n_screens)]
    p_values = np.array([row.p_value for row in rows])
    assert (p_values <= 0.05).sum() <= binom.ppf(0.995, n_screens, 0.05)


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("perturbation_consistency", "fixed"),
        ("perturbation_consistency", "new"),
        ("perturbation_magnitude", "new"),
        ("phenotypic_activity", "new"),
    ],
)
def test_with_all_wells_every_screen_would_be_significant(score_by, headline_of, name, layout):
    p_values = [headline_of(name, score_by(name, screen(seed, layout=layout), seed)).p_value for seed in range(4)]
    assert np.mean(np.array(p_values) <= 0.05) >= 0.75


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_planted_effects_are_found_with_one_well_per_plate(score_by, headline_of, name):
    judged = screen(3, gene_effect=5.0, field_effect=1.0)
    assert headline_of(name, score_by(name, judged, 3, is_one_well_per_plate=True)).p_value == 0.01


def test_a_field_is_smooth_and_has_the_length_that_is_asked_for():
    field = smooth_field(3.0, 5, np.random.default_rng(0)).reshape(16, 24, 5)
    assert np.sqrt((field**2).sum(axis=2).mean()) == pytest.approx(3.0)
    neighbours = np.corrcoef(field[:, :-1].ravel(), field[:, 1:].ravel())[0, 1]
    assert neighbours > 0.9
    assert abs(np.corrcoef(field[:, :-12].ravel(), field[:, 12:].ravel())[0, 1]) < 0.4
