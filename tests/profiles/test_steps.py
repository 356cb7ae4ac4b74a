"""Normalisation and feature selection: worked by hand, and equal to pycytominer on the same tables.

`data/pycytominer.json` has what pycytominer 1.7.1 gave for a small table, for where it is not installed.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from cellassets.errors import ProfilesError
from cellassets.profiles.preparing import prepare
from cellassets.profiles.profile_rows import ProfileRows
from cellassets.profiles.selection import correlated_above
from cellassets.profiles.steps import Step

REAL = Path("/work/shared/data/cytomining+CytoDataFrame/tests/data/cytotable")
WELLS = 40
STORED = json.loads((Path(__file__).parent / "data" / "pycytominer.json").read_text())


@pytest.fixture
def pycytominer():
    return pytest.importorskip("pycytominer", reason="pycytominer is in the extra dev; install it to compare with it")


def step(kind, **settings):
    return TypeAdapter(Step).validate_python({"kind": kind, **settings})


def rows_of(values, *, plates=1, is_control=None):
    """One row per well, plate after plate."""
    values = np.asarray(values, dtype=float)
    n_wells = len(values) // plates
    labels = pl.DataFrame(
        {
            "experiment_id": ["E"] * len(values),
            "plate_id": [f"P{1 + index // n_wells}" for index in range(len(values))],
            "well_id": [f"A{1 + index % n_wells:02d}" for index in range(len(values))],
            "site_index": pl.Series([None] * len(values), dtype=pl.Int32),
        }
    )
    is_control = np.zeros(len(values), dtype=bool) if is_control is None else np.asarray(is_control)
    return ProfileRows(labels, is_control, values, tuple(f"Cells_F{index}" for index in range(values.shape[1])))


def prepared(values, *steps, **options):
    return prepare(rows_of(values, **options), steps)


def table(seed=0, *, has_missing=True):
    """Two plates with features that each step would drop: constant, rare, doubled, missing, extreme."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((2 * WELLS, 24))
    values[:, 3] = values[:, 2] + 0.05 * rng.standard_normal(2 * WELLS)
    values[:, 5] = -values[:, 4]
    values[:, 6] = 0.0
    values[:, 7] = (rng.random(2 * WELLS) < 0.02).astype(float)
    values[:, 8] = rng.integers(0, 3, 2 * WELLS)
    values[:, 9] = 1e-4 * rng.standard_normal(2 * WELLS)
    values[7, 10] = 90.0
    values[:, 12:16] += 4 * rng.standard_normal((2 * WELLS, 1))
    if has_missing:
        values[3:20, 11] = np.nan
        values[5, 14] = np.nan
        values[::9, 16] = np.nan
    return values


def frame_of(values, is_control=None):
    found = rows_of(values, plates=2, is_control=is_control)
    frame = pd.DataFrame(found.values, columns=list(found.features))
    frame.insert(0, "Metadata_Plate", found.labels["plate_id"].to_list())
    frame.insert(1, "Metadata_is_control", found.is_control)
    return frame


def normalised_by(pycytominer, values, is_control=None, **options):
    """Plate by plate, as pycytominer's users do."""
    parts = [
        pycytominer.normalize(
            plate.reset_index(drop=True), features="infer", meta_features=["Metadata_Plate"], **options
        )
        for _, plate in frame_of(values, is_control).groupby("Metadata_Plate")
    ]
    return pd.concat(parts).filter(like="Cells_").to_numpy()


@pytest.mark.parametrize("samples", ["all", "controls"])
@pytest.mark.parametrize(
    ("kind", "settings"), [("mad_robustize", {"epsilon": 1e-6}), ("mad_robustize", {}), ("standardize", {})]
)
def test_normalised_values_are_pycytominers(pycytominer, kind, settings, samples):
    values = table()[:, [0, 1, 2, 4, 6, 8, 9, 10, 11, 16]]
    is_control = np.arange(2 * WELLS) % 3 == 0
    query = {"samples": "Metadata_is_control"} if samples == "controls" else {}
    epsilon = {"mad_robustize_epsilon": settings["epsilon"]} if settings else {}
    expected = normalised_by(pycytominer, values, is_control, method=kind, **query, **epsilon)
    rows = rows_of(values, plates=2, is_control=is_control)
    found = step(kind, fit_on=samples, **settings)
    for plate in range(2):
        own = slice(plate * WELLS, (plate + 1) * WELLS)
        fitted = rows.values[own][is_control[own]] if samples == "controls" else rows.values[own]
        np.testing.assert_allclose(found.fit_and_apply(rows.values[own], fitted), expected[own], rtol=1e-6, atol=1e-6)


def selected_by(pycytominer, values, operation, **options):
    frame = frame_of(values).drop(columns="Metadata_is_control")
    with np.errstate(all="ignore"):  # it divides by the deviation of a constant feature
        found = pycytominer.feature_select(frame, operation=operation, **options)
    return [name for name in found.columns if name.startswith("Cells_")]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("operation", "settings", "options"),
    [
        ("drop_na_columns", {"cutoff": 0.05}, {"na_cutoff": 0.05}),
        ("drop_na_columns", {"cutoff": 0.0}, {"na_cutoff": 0.0}),
        ("frequency_threshold", {}, {}),
        ("frequency_threshold", {"freq_cut": 0.5, "unique_cut": 0.1}, {"freq_cut": 0.5, "unique_cut": 0.1}),
        ("variance_threshold", {}, {}),
        ("correlation_threshold", {}, {}),
        ("correlation_threshold", {"threshold": 0.3}, {"corr_threshold": 0.3}),
        ("drop_outliers", {}, {"outlier_cutoff": 15}),
        ("blocklist", {"features": ["Cells_F1", "Cells_Other"]}, {"blocklist": ["Cells_F1", "Cells_Other"]}),
    ],
)
@pytest.mark.parametrize("has_missing", [True, False])
def test_the_same_features_are_selected_as_by_pycytominer(pycytominer, seed, operation, settings, options, has_missing):
    values = table(seed, has_missing=has_missing)
    expected = selected_by(pycytominer, values, operation, **options)
    rows = rows_of(values)
    dropped = step(operation, **settings).drops(rows.values, rows.features)
    assert [name for name, is_out in zip(rows.features, dropped, strict=True) if not is_out] == expected
    assert len(expected) < values.shape[1] or (operation == "drop_na_columns" and not has_missing)


def test_a_whole_line_of_steps_gives_pycytominers_profiles(pycytominer):
    values = table()
    expected = pd.DataFrame(
        normalised_by(pycytominer, values, method="mad_robustize"), columns=list(rows_of(values).features)
    )
    operations = ["frequency_threshold", "drop_na_columns", "correlation_threshold", "drop_outliers"]
    with np.errstate(all="ignore"):
        expected = pycytominer.feature_select(expected, operation=operations, na_cutoff=0.0, outlier_cutoff=15)
    steps = [step("mad_robustize"), step("frequency_threshold"), step("drop_na_columns", cutoff=0.0)]
    found = prepared(values, *steps, step("correlation_threshold"), step("drop_outliers"), plates=2)
    assert list(found.features) == list(expected.columns)
    np.testing.assert_allclose(found.vectors, expected.to_numpy(), rtol=1e-6, atol=1e-6)
    assert [one.step for one in found.dropped] == operations
    assert all(one.features for one in found.dropped)


@pytest.mark.skipif(not REAL.is_dir(), reason="the tables of CytoDataFrame are not on this machine")
@pytest.mark.parametrize("operation", ["frequency_threshold", "variance_threshold", "correlation_threshold"])
def test_the_features_of_real_cells_are_selected_as_by_pycytominer(pycytominer, operation):
    (path,) = REAL.glob("JUMP*/*.parquet")
    frame = pl.read_parquet(path)
    names = [name for name, kind in frame.schema.items() if name.startswith("Nuclei_") and kind.is_float()][:300:4]
    values = frame.select(names).fill_null(np.nan).to_numpy()
    with np.errstate(all="ignore"):
        expected = pycytominer.feature_select(pd.DataFrame(values, columns=names), features=names, operation=operation)
    dropped = step(operation).drops(values, tuple(names))
    assert [name for name, is_out in zip(names, dropped, strict=True) if not is_out] == list(expected.columns)
    assert 0 < dropped.sum() < len(names)


@pytest.mark.parametrize(("kind", "settings"), [("mad_robustize", {"epsilon": 1e-6}), ("standardize", {})])
def test_normalised_values_are_the_stored_ones(kind, settings):
    values = np.array(STORED["rows"], dtype=float)
    found = step(kind, **settings).fit_and_apply(values, values)
    np.testing.assert_allclose(found, np.array(STORED["normalised"][kind], dtype=float), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("drop_na_columns", {}),
        ("frequency_threshold", {"freq_cut": 0.2}),
        ("variance_threshold", {}),
        ("correlation_threshold", {}),
        ("drop_outliers", {"cutoff": 95}),
    ],
)
def test_the_features_that_are_selected_are_the_stored_ones(kind, settings):
    names = tuple(STORED["features"])
    dropped = step(kind, **settings).drops(np.array(STORED["rows"], dtype=float), names)
    assert [name for name, is_out in zip(names, dropped, strict=True) if not is_out] == STORED["selected"][kind]


def test_mad_robustize_by_hand():
    # median 3, absolute deviations 2 1 0 1 97, MAD 1
    found = prepared([[1], [2], [3], [4], [100]], step("mad_robustize", epsilon=0))
    np.testing.assert_allclose(found.vectors[:, 0] * 1.4826, [-2, -1, 0, 1, 97], rtol=1e-6)


def test_standardize_by_hand():
    # mean 2, variance over n = 2; a constant feature becomes 0
    found = prepared([[0, 7], [2, 7], [2, 7], [4, 7]], step("standardize"))
    np.testing.assert_allclose(found.vectors[:, 0], np.array([-2, 0, 0, 2]) / np.sqrt(2), rtol=1e-6)
    assert (found.vectors[:, 1] == 0).all()


def test_each_plate_is_scaled_by_its_own_controls():
    values = [[1], [2], [3], [9], [11], [12], [13], [19]]
    is_control = [True, True, True, False] * 2
    found = prepared(values, step("mad_robustize", fit_on="controls", epsilon=0), plates=2, is_control=is_control)
    np.testing.assert_allclose(found.vectors[:, 0] * 1.4826, [-1, 0, 1, 7] * 2, rtol=1e-6)


def test_of_a_correlated_pair_the_one_that_is_more_like_the_rest_is_dropped():
    rng = np.random.default_rng(0)
    shared = rng.standard_normal(200)
    first = shared + 0.2 * rng.standard_normal(200)
    values = np.column_stack([first, shared, shared + rng.standard_normal(200)])
    assert correlated_above(values, 0.9).tolist() == [False, True, False]
    assert not correlated_above(np.column_stack([shared, -shared]), 0.9).any()
    assert correlated_above(np.column_stack([shared, shared]), 0.9).tolist() == [False, True]


@pytest.mark.parametrize(
    ("values", "steps", "message"),
    [
        ([[1.0, np.nan]] * 4, [], r"first feature Cells_F1 of experiment E, plate P1, well A01, which is nan; 1 feat"),
        ([[1.0], [2.0]], [step("mad_robustize")], r"mad_robustize: experiment E, plate P1 has 2 rows \(all\)"),
        ([[1.0]] * 4, [step("standardize", fit_on="controls")], r"plate P1 has 0 rows \(controls\) to fit on"),
        ([[1.0]] * 4, [step("variance_threshold")], "variance_threshold drops all 1 features that are left"),
        (
            [[0.0], [0.0], [0.0], [1.0]],
            [step("mad_robustize", epsilon=0), step("correlation_threshold")],
            "correlation_threshold: infinite values before this step: first feature Cells_F0 of .* well A04, which is",
        ),
        ([[1e39], [0], [1], [2]], [], "first feature Cells_F0 of experiment E, plate P1, well A01, which is 1e"),
    ],
    ids=["missing", "few rows", "no controls", "all dropped", "infinite", "beyond float32"],
)
def test_what_cannot_be_computed_names_feature_and_well(values, steps, message):
    with pytest.raises(ProfilesError, match=message):
        prepared(values, *steps)


def test_a_missing_value_is_dropped_with_its_feature():
    found = prepared([[1.0, np.nan], [2.0, 1.0], [4.0, 1.0]], step("drop_na_columns", cutoff=0.0))
    assert found.features == ("Cells_F0",)
    assert found.dropped[0].features == ("Cells_F1",)


def test_an_unknown_step_is_refused():
    with pytest.raises(ValidationError, match="spherize"):
        step("spherize")
