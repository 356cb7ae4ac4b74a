"""The remaining batch effect, by nearest neighbours, compared with a loop."""

import numpy as np
import pytest

from cellassets.mapping import neighbours
from cellassets.mapping.batch_effect import JudgedWells, batch_effect_rows

N_BATCHES, N_LABELS, N_WELLS = 3, 10, 240


def judged_wells(seed=0):
    rng = np.random.default_rng(seed)
    is_control = np.arange(N_WELLS) % 4 == 0
    labels = np.where(is_control, N_LABELS, rng.integers(0, N_LABELS, N_WELLS))
    return JudgedWells(rng.integers(0, N_BATCHES, N_WELLS), labels, is_control, ~is_control)


def measured(values, judged, n_queries=1000):
    rows = batch_effect_rows("raw", values, judged, n_queries=n_queries, seed=0)
    return {row["metric"]: row for row in rows.to_dicts()}


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_rates_are_those_of_a_loop():
    judged = judged_wells()
    values = np.random.default_rng(1).standard_normal((N_WELLS, 5)) + judged.batch_index[:, None]
    found = measured(values, judged)
    values = values - values[judged.is_control].mean(axis=0)
    controls, treated = np.flatnonzero(judged.is_control), np.flatnonzero(judged.is_treatment)
    nearest = {i: max((j for j in controls if j != i), key=lambda j: cosine(values[i], values[j])) for i in controls}
    same_batch = np.mean([judged.batch_index[i] == judged.batch_index[j] for i, j in nearest.items()])
    others = {i: [j for j in treated if judged.batch_index[j] != judged.batch_index[i]] for i in treated}
    nearest = {i: max(others[i], key=lambda j: cosine(values[i], values[j])) for i in treated}
    same_label = np.mean([judged.unit_index[i] == judged.unit_index[j] for i, j in nearest.items()])
    chance = np.mean([np.mean([judged.unit_index[i] == judged.unit_index[j] for j in others[i]]) for i in treated])
    assert found["batch_accuracy"]["value"] == pytest.approx(same_batch)
    assert found["replicate_retrieval"]["value"] == pytest.approx(same_label)
    assert found["replicate_retrieval"]["chance"] == pytest.approx(chance)
    assert found["batch_accuracy"]["n_wells"] == len(controls)


def test_without_a_batch_effect_the_rate_is_that_of_chance():
    rates, chances = [], []
    for seed in range(40):
        found = measured(np.random.default_rng(seed + 100).standard_normal((N_WELLS, 8)), judged_wells(seed))
        rates.append(found["batch_accuracy"]["value"])
        chances.append(found["batch_accuracy"]["chance"])
    assert np.mean(rates) == pytest.approx(np.mean(chances), abs=0.03)


def test_a_strong_batch_effect_is_seen_in_every_well():
    judged = judged_wells()
    far = 50 * np.eye(8)[judged.batch_index]
    found = measured(np.random.default_rng(0).standard_normal((N_WELLS, 8)) + far, judged)
    assert found["batch_accuracy"]["value"] == 1.0


def test_planted_replicates_are_retrieved_over_batches():
    judged = judged_wells()
    far = 50 * np.eye(N_LABELS + 1)[judged.unit_index]
    far[judged.is_control] = 0
    found = measured(np.random.default_rng(0).standard_normal((N_WELLS, N_LABELS + 1)) + far, judged)
    assert found["replicate_retrieval"]["value"] == 1.0


def test_blocks_do_not_change_the_rates_and_queries_are_bounded(monkeypatch):
    judged = judged_wells()
    values = np.random.default_rng(1).standard_normal((N_WELLS, 5))
    whole = measured(values, judged)
    monkeypatch.setattr(neighbours, "BLOCK_SIMILARITIES", 500)
    assert measured(values, judged) == whole
    assert measured(values, judged, n_queries=20)["replicate_retrieval"]["n_wells"] == 20


def test_a_rate_that_cannot_be_measured_is_left_out():
    judged = judged_wells()
    one_batch = JudgedWells(np.zeros(N_WELLS, dtype=int), judged.unit_index, judged.is_control, judged.is_treatment)
    values = np.random.default_rng(1).standard_normal((N_WELLS, 5))
    assert set(measured(values, one_batch)) == {"batch_accuracy"}
    no_controls = JudgedWells(judged.batch_index, judged.unit_index, np.zeros(N_WELLS, dtype=bool), judged.is_treatment)
    assert set(measured(values, no_controls)) == {"replicate_retrieval"}
