"""Robust z-scores and sphering: what they guarantee and what they refuse. Published numbers: test_efaar_parity."""

import numpy as np
import pytest

from cellassets.errors import AlignmentError
from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.steps import RobustZ, Sphering


def of_one_batch(n, is_control=None):
    every = np.ones(n, dtype=bool)
    return BatchDesign(("a",), np.zeros(n, dtype=int), every if is_control is None else is_control)


def test_a_feature_without_absolute_deviation_becomes_0_and_not_1e18():
    values = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [5.0, 4.0]])
    found = RobustZ(scope="batch").apply(values, of_one_batch(4))
    np.testing.assert_array_equal(found[:, 0], 0)
    np.testing.assert_allclose(found[:, 1], (values[:, 1] - 2.5) / 1.4826)


def test_one_outlier_does_not_change_the_scale():
    values = np.random.default_rng(0).standard_normal((101, 2))
    wild = values.copy()
    wild[0] = 1e9
    found, moved = (RobustZ(scope="batch").apply(v, of_one_batch(101)) for v in (values, wild))
    assert np.abs(found[1:] - moved[1:]).max() < 0.1


def test_a_group_with_too_few_wells_is_named(batches):
    values, design = batches
    few = BatchDesign(design.batch_names, design.batch_index, design.is_control & (design.batch_index != 1))
    with pytest.raises(AlignmentError, match=r"robust_z: too few wells \(controls\) in a batch: b has 0; each needs 3"):
        RobustZ(scope="batch", fit_on="controls").apply(values, few)
    with pytest.raises(AlignmentError, match="this step needs the plate, row and column"):
        RobustZ().apply(values, design)


@pytest.mark.parametrize("method", ["zca", "zca_cor", "pca", "pca_cor"])
@pytest.mark.parametrize("within", ["dataset", "batch"])
def test_controls_are_white_after_sphering(batches, method, within):
    values, design = batches
    found = Sphering(method=method, within=within, epsilon=0.0).apply(values, design)
    groups = [design.is_control & (design.batch_index == b) for b in range(3)]
    for rows in [design.is_control] if within == "dataset" else groups:
        np.testing.assert_allclose(np.cov(found[rows].T), np.eye(6), atol=1e-8)
        np.testing.assert_allclose(found[rows].mean(axis=0), 0, atol=1e-9)


def test_with_few_controls_unseen_axes_take_the_smallest_scale_seen():
    values = np.random.default_rng(0).standard_normal((30, 5))
    design = of_one_batch(30, np.arange(30) < 4)
    found = Sphering(method="zca", epsilon=0.0).apply(values, design)
    centred = values - values[:4].mean(axis=0)
    matrix = np.linalg.lstsq(centred, found, rcond=None)[0]
    _, singular, _ = np.linalg.svd(centred[:4])
    expected = np.sqrt(3) / singular[[0, 1, 2, 2, 2]]
    np.testing.assert_allclose(np.sort(np.linalg.eigvalsh(matrix)), np.sort(expected))
    assert Sphering(method="pca").apply(values, design).shape == (30, 3)


def test_features_that_depend_on_one_another_are_refused(batches):
    values, design = batches
    values[:, 5] = values[:, 0] + values[:, 1]
    with pytest.raises(AlignmentError, match=r"controls span 5 axes, 6 expected.*at most 5 components"):
        Sphering().apply(values, design)
    values[:, 5] = 7.0
    with pytest.raises(AlignmentError, match=r"features \[5\] do not vary among the controls"):
        Sphering().apply(values, design)
