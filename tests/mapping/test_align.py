"""Each step of alignment compared with an independent implementation, and what it guarantees for the controls."""

import numpy as np
import polars as pl
import pytest
from scipy.linalg import fractional_matrix_power

from cellassets.errors import AlignmentError
from cellassets.mapping import align
from cellassets.mapping.build import MapParameters, align_wells, map_held_out_controls
from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.moments import fourth_powers, shrunk_covariance, symmetric_power
from cellassets.mapping.steps import CentreScale, PrincipalComponents, Step, TypicalVariation
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells


def mixing(rng, n):
    """A matrix that stretches by 1 to 2 along rotated axes, so that shrinkage changes next to nothing."""
    turn, _ = np.linalg.qr(rng.standard_normal((n, n)))
    return turn * rng.uniform(1, 2, n)


def pooled_control_covariance(values, design):
    """Covariance of the controls about their batches' means, over n minus the number of batches."""
    groups = [controls_of(values, design, batch) for batch in range(len(design.batch_names))]
    squares = sum((g - g.mean(axis=0)).T @ (g - g.mean(axis=0)) for g in groups)
    return squares / (sum(map(len, groups)) - len(groups))


def controls_of(values, design, batch):
    return values[(design.batch_index == batch) & design.is_control]


def test_scaling_by_batch_leaves_mean_0_and_deviation_1_in_each(batches, apply):
    values, design = batches
    scaled = apply(align.fit_scale_by_batch, values, design)
    for batch in range(3):
        rows = design.batch_index == batch
        np.testing.assert_allclose(scaled[rows].mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(scaled[rows].std(axis=0), 1)


def test_a_feature_that_is_constant_in_a_batch_becomes_0_there(batches, apply):
    values, design = batches
    values[design.batch_index == 1, 2] = 7.0
    assert (apply(align.fit_scale_by_batch, values, design)[design.batch_index == 1, 2] == 0).all()


def test_components_are_those_of_the_singular_value_decomposition(batches, apply):
    values, _ = batches
    found = apply(align.fit_principal_components, values, np.arange(300), 4)
    centred = values - values.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(found), np.abs(left[:, :4] * singular[:4]), rtol=1e-7, atol=1e-9)


def test_components_do_not_depend_on_the_signs_that_the_library_picks(batches, apply):
    values, design = batches
    found = apply(align.fit_principal_components, values, np.flatnonzero(design.is_control), 6)
    fitted = values[design.is_control]
    axes = np.linalg.lstsq(values - fitted.mean(axis=0), found, rcond=None)[0]
    assert (axes[np.abs(axes).argmax(axis=0), np.arange(6)] > 0).all()
    np.testing.assert_allclose(found[design.is_control].mean(axis=0), 0, atol=1e-9)


@pytest.mark.parametrize(("n_components", "n_fitted", "expected"), [(3, 120, 3), (50, 120, 6), (50, 4, 3), (5, 2, 1)])
def test_there_are_fewer_components_than_fitted_wells(batches, n_components, n_fitted, expected, apply):
    values, _ = batches
    found = apply(align.fit_principal_components, values, np.arange(n_fitted), n_components)
    assert found.shape == (300, expected)


def test_controls_end_at_mean_0_and_deviation_1_in_every_batch(batches, apply):
    values, design = batches
    found = apply(align.fit_centre_scale_on_controls, values, design, n_prior_controls=0)
    for batch in range(3):
        controls = controls_of(found, design, batch)
        np.testing.assert_allclose(controls.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(controls.std(axis=0, ddof=1), 1)


def test_few_controls_are_moderated_by_those_of_other_batches(batches, apply):
    values, design = batches
    found = apply(align.fit_centre_scale_on_controls, values, design, n_prior_controls=4)
    squares = [((c - c.mean(axis=0)) ** 2).sum(axis=0) for c in (controls_of(values, design, b) for b in range(3))]
    pooled = sum(squares) / (120 - 3)
    for batch in range(3):
        rows = design.batch_index == batch
        mean = controls_of(values, design, batch).mean(axis=0)
        expected = (values[rows] - mean) / np.sqrt((squares[batch] + 4 * pooled) / (39 + 4))
        np.testing.assert_allclose(found[rows], expected)


def test_controls_are_white_after_whitening(apply):
    rng = np.random.default_rng(1)
    values = rng.standard_normal((6000, 5)) @ mixing(rng, 5)
    design = BatchDesign(("a", "b"), np.arange(6000) % 2, np.ones(6000, dtype=bool))
    white = apply(align.fit_whiten_on_controls, apply(align.fit_centre_on_controls, values, design), design)
    np.testing.assert_allclose(pooled_control_covariance(white, design), np.eye(5), atol=0.02)


def test_whitening_rotates_and_scales_and_does_nothing_else(batches, apply):
    values, design = batches
    centred = apply(align.fit_centre_on_controls, values, design)
    white = apply(align.fit_whiten_on_controls, centred, design)
    matrix = np.linalg.lstsq(centred, white, rcond=None)[0]
    np.testing.assert_allclose(centred @ matrix, white, atol=1e-8)
    gram = matrix.T @ matrix
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-8 * gram.max())


def test_correlation_alignment_gives_every_batch_the_controls_covariance_of_all(apply):
    rng = np.random.default_rng(2)
    index = np.repeat([0, 1], 4000)
    values = np.concatenate([rng.standard_normal((4000, 4)) @ mixing(rng, 4) for _ in range(2)])
    design = BatchDesign(("a", "b"), index, np.ones(8000, dtype=bool))
    centred = apply(align.fit_centre_on_controls, values, design)
    found = apply(align.fit_correlation_alignment, centred, design, ridge=1e-6)
    pooled = pooled_control_covariance(centred, design)
    for batch in range(2):
        np.testing.assert_allclose(np.cov(controls_of(found, design, batch).T), pooled, atol=0.02 * pooled.max())


def test_typical_variation_is_its_published_steps_one_after_another(batches, apply):
    values, design = batches
    found = apply(align.fit_typical_variation, values, design, ridge=0.5)
    centred = values.copy()
    for batch in range(3):
        centred[design.batch_index == batch] -= controls_of(values, design, batch).mean(axis=0)
    residuals = centred[design.is_control]
    variances, axes = np.linalg.eigh(shrunk_naively(residuals))
    order = np.argsort(variances)[::-1]
    axes = axes[:, order] * np.sign(axes[:, order][np.abs(axes[:, order]).argmax(axis=0), range(6)])
    white = centred @ axes / np.sqrt(variances[order])
    target = fractional_matrix_power(shrunk_naively(white[design.is_control]) + 0.5 * np.eye(6), 0.5)
    for batch in range(3):
        own = shrunk_naively(controls_of(white, design, batch)) + 0.5 * np.eye(6)
        rows = design.batch_index == batch
        np.testing.assert_allclose(found[rows], white[rows] @ fractional_matrix_power(own, -0.5) @ target, rtol=1e-6)


def shrunk_naively(rows):
    """Ledoit and Wolf (2004) word by word: m, d^2, b^2 with the norm tr(A A') / p."""
    n, p = rows.shape
    sample = rows.T @ rows / n
    m = np.trace(sample) / p
    d2 = np.trace((sample - m * np.eye(p)) @ (sample - m * np.eye(p)).T) / p
    each = [np.trace((np.outer(x, x) - sample) @ (np.outer(x, x) - sample).T) / p for x in rows]
    b2 = min(sum(each) / n**2, d2)
    return b2 / d2 * m * np.eye(p) + (d2 - b2) / d2 * sample


@pytest.mark.parametrize("n_rows", [3, 10, 200])
def test_shrinkage_is_that_of_ledoit_and_wolf(n_rows):
    rows = np.random.default_rng(n_rows).standard_normal((n_rows, 5)) * [1, 2, 3, 4, 5]
    np.testing.assert_allclose(shrunk_covariance(rows.T @ rows, n_rows, fourth_powers(rows)), shrunk_naively(rows))


def test_powers_of_a_matrix_are_those_of_scipy():
    root = np.random.default_rng(3).standard_normal((5, 5))
    matrix = root @ root.T + np.eye(5)
    for exponent in (0.5, -0.5):
        np.testing.assert_allclose(
            symmetric_power(matrix, exponent), fractional_matrix_power(matrix, exponent), atol=1e-10
        )


@pytest.mark.parametrize("step", [CentreScale(), TypicalVariation(), PrincipalComponents(fit_on="controls")])
def test_held_out_controls_do_not_change_the_fit(batches, step):
    values, design = batches
    is_held_out = design.is_control & (np.arange(300) % 2 == 0)
    fitted = BatchDesign(design.batch_names, design.batch_index, design.is_control & ~is_held_out)
    # scaling by batch looks at all wells on purpose, so what is held out is changed without changing its moments
    turned = values.copy()
    for batch in range(3):
        rows = np.flatnonzero(is_held_out & (design.batch_index == batch))
        turned[rows] = values[rows[::-1]]
    found, changed = step.apply(values, fitted), step.apply(turned, fitted)
    np.testing.assert_allclose(found[~is_held_out], changed[~is_held_out], atol=1e-8)


def test_a_batch_without_enough_controls_is_named(batches):
    _, design = batches
    few = BatchDesign(design.batch_names, design.batch_index, design.is_control & (design.batch_index != 1))
    with pytest.raises(AlignmentError, match="b has 0; each batch needs 3"):
        few.check_controls(3)
    design.check_controls(40)


def test_more_components_than_controls_leave_the_batch_of_a_control_predictable():
    """configs/mapping.yaml warns of this; configs/examples/mapping/few_controls.yaml avoids it."""

    def batch_accuracy(n_controls_per_plate: int, *steps: Step) -> float:
        wells, _ = simulate_wells(
            SimulatedWells(
                n_batches=8,
                n_plates_per_batch=4,
                n_lone_genes=40,
                n_controls_per_plate=n_controls_per_plate,
                n_features=256,
                batch_effect=10.0,
            )
        )
        parameters = MapParameters(steps=steps)
        _, rows = align_wells(wells, map_held_out_controls(wells, parameters), parameters)
        return float(rows.filter(pl.col("metric") == "batch_accuracy")["value"][-1])

    wide = (PrincipalComponents(n_components=64), CentreScale(), TypicalVariation())
    assert batch_accuracy(2, *wide) > 0.5  # 4 controls of a batch to learn from
    assert batch_accuracy(32, *wide) < 0.3  # 64
    assert batch_accuracy(2, PrincipalComponents(n_components=64)) < 0.3  # scaled over all wells, chance 0.1
