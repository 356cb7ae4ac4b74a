"""Published steps against numbers worked out from their formulas and equal to the reference implementations'.

`data/derive_parity.py` says how the numbers were made and what they were compared with.
"""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from cellassets.mapping.aggregate import group_mean, group_median
from cellassets.mapping.batch_effect import JudgedWells, batch_effect_rows
from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.places import GeneArms, WellPlaces
from cellassets.mapping.steps import AlignmentStep

DATA = Path(__file__).parent / "data"
KEPT = json.loads((DATA / "parity.json").read_text())
STEP = TypeAdapter(AlignmentStep)
STEPS = {
    "centre_all": {"kind": "efaar_centre", "fit_on": "all"},
    "centre_controls": {"kind": "efaar_centre"},
    "centre_scale_all": {"kind": "efaar_centre_scale", "fit_on": "all"},
    "centre_scale_controls": {"kind": "efaar_centre_scale"},
    "centre_scale_controls_dataset": {"kind": "efaar_centre_scale", "within": "dataset"},
    "centre_scale_all_dataset": {"kind": "efaar_centre_scale", "fit_on": "all", "within": "dataset"},
    "robust_z_all": {"kind": "robust_z"},
    "robust_z_controls": {"kind": "robust_z", "scope": "batch", "fit_on": "controls"},
    "sphering_zca": {"kind": "sphering", "method": "zca"},
    "sphering_zca_cor": {"kind": "sphering"},
}
UP_TO_SIGN = {
    "pca": {"kind": "efaar_pca", "n_components": None, "is_scaled_first": False},
    "pca_scaled_first": {"kind": "efaar_pca", "n_components": None},
    "tvn": {"kind": "efaar_tvn"},
    "sphering_pca": {"kind": "sphering", "method": "pca"},
    "sphering_pca_cor": {"kind": "sphering", "method": "pca_cor"},
}


@pytest.fixture
def wells():
    """Values and design of the stored wells; rows and columns of the places do not matter here."""
    given = KEPT["inputs"]
    plate, gene = np.array(given["plate"]), np.array([int(name[1]) for name in given["gene"]])
    nowhere = np.zeros(24, dtype=int)
    places = WellPlaces(tuple("abcdef"), plate, nowhere, nowhere, np.zeros(24, dtype=bool))
    arms = GeneArms(("G0", "G1", "G2", "G3"), gene, ("1p", "2q"), np.array([0, 0, 0, 1]), None)
    is_control = np.array(given["is_control"])
    return np.array(given["values"]), BatchDesign(("a", "b", "c"), np.array(given["batch"]), is_control, places, arms)


def aligned(values, design, settings):
    return STEP.validate_python(settings).apply(values, design)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_gives_the_published_numbers(wells, name):
    np.testing.assert_allclose(aligned(*wells, STEPS[name]), KEPT["expected"][name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", UP_TO_SIGN)
def test_a_step_with_principal_axes_gives_the_published_numbers_up_to_their_sign(wells, name):
    found, expected = aligned(*wells, UP_TO_SIGN[name]), np.array(KEPT["expected"][name])
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, rtol=1e-6, atol=1e-9)


def test_fewer_components_are_the_first_of_all(wells):
    every = aligned(*wells, UP_TO_SIGN["pca"])
    some = aligned(*wells, {"kind": "efaar_pca", "n_components": 2, "is_scaled_first": False})
    np.testing.assert_allclose(some, every[:, :2], atol=1e-12)


def test_aggregates_are_the_published_ones(wells):
    values, design = wells
    np.testing.assert_allclose(group_mean(values, design.arms.gene_index, 4), KEPT["expected"]["mean"], atol=1e-9)
    np.testing.assert_allclose(group_median(values, design.arms.gene_index, 4), KEPT["expected"]["median"], atol=1e-9)


def test_correcting_wells_for_their_arm_equals_correcting_the_finished_map(wells):
    values, design = wells
    found = aligned(values, design, {"kind": "chromosome_arm", "min_genes": 2})
    expected = [KEPT["expected"]["chromosome_arm"][name] for name in design.arms.gene_names]
    np.testing.assert_allclose(group_mean(found, design.arms.gene_index, 4), expected, atol=1e-9)


def test_the_kept_numbers_are_those_of_their_derivation():
    derived = runpy.run_path(str(DATA / "derive_parity.py"))["expected"](KEPT["inputs"])
    for name, table in derived.items():
        if name == "chromosome_arm":
            assert {gene: pytest.approx(profile) for gene, profile in table.items()} == KEPT["expected"][name]
        else:
            np.testing.assert_allclose(np.abs(table), np.abs(KEPT["expected"][name]), rtol=1e-9, atol=1e-9)


def test_recolouring_would_multiply_the_published_tvn_by_one_number():
    plain, recoloured = (np.array(KEPT["expected"][name]) for name in ("tvn", "tvn_recoloured"))
    np.testing.assert_allclose(recoloured, plain * np.sqrt(12 / 11 + 0.5), rtol=1e-8)


def test_the_published_tvn_leaves_batches_apart_in_the_smallest_example():
    # -1, 1 | 9, 11: mean 5, deviation sqrt(26); a batch's variance is 2 / 26, plus 0.5
    values = np.array([[-1.0], [1.0], [9.0], [11.0]])
    design = BatchDesign(("a", "b"), np.array([0, 0, 1, 1]), np.ones(4, dtype=bool))
    published = aligned(values, design, {"kind": "efaar_tvn"})
    expected = np.array([-6, -4, 4, 6]) / np.sqrt(26) / np.sqrt(2 / 26 + 0.5)
    np.testing.assert_allclose(published[:, 0], expected)
    np.testing.assert_allclose(expected, [-1.549, -1.033, 1.033, 1.549], atol=5e-4)
    ours = aligned(values, design, {"kind": "tvn"})
    np.testing.assert_allclose(ours[:, 0], [-1, 1, -1, 1], atol=1e-9)


def test_batches_can_be_predicted_after_the_published_tvn_and_not_after_ours():
    rng = np.random.default_rng(0)
    batch = np.repeat([0, 1], 200)
    values = rng.standard_normal((400, 8)) + 10.0 * batch[:, None]
    is_fitted = np.arange(400) % 2 == 0
    design = BatchDesign(("a", "b"), batch, is_fitted)
    judged = JudgedWells(batch, batch, ~is_fitted, np.zeros(400, dtype=bool))

    def accuracy(kind):
        rows = batch_effect_rows(kind, aligned(values, design, {"kind": kind}), judged, n_queries=400, seed=0)
        return rows.row(0, named=True)["value"]

    assert accuracy("efaar_tvn") == 1.0
    assert accuracy("tvn") < 0.6  # chance is 0.497


def test_with_few_controls_only_the_axes_that_they_span_are_kept():
    rng = np.random.default_rng(0)
    design = BatchDesign(("a", "b"), np.repeat([0, 1], 20), np.arange(40) % 10 == 0)
    found = aligned(rng.standard_normal((40, 6)), design, {"kind": "efaar_tvn"})
    assert found.shape == (40, 3)
    assert np.abs(found).max() < 100
