"""Leftover batch effect: probes against loops, assignments of plates counted out, and what cannot be judged."""

from itertools import permutations

import numpy as np
import pytest

from cellassets.benchmarks.batches.block_probe import BlockProbe, whitened
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.errors import BenchmarkError, NotApplicable
from cellassets.mapping.batch_effect import JudgedWells, batch_effect_rows
from cellassets.statistics.plate_assignments import n_distinct_assignments, plate_assignments

QUICK = {"n_permutations": 99, "seed": 5}


def score(judged, **parameters):
    chosen = BENCHMARKS["leftover_batch_effect"]
    return chosen.score(judged, chosen.parameters(**{**QUICK, **parameters}))


def summaries(judged, **parameters):
    return {row.metric: row for row in score(judged, **parameters) if row.level == "summary"}


def together(assignment):
    return frozenset(frozenset(np.flatnonzero(assignment == batch).tolist()) for batch in set(assignment.tolist()))


@pytest.mark.parametrize("sizes", [(2, 2, 2), (3, 2), (2, 2, 3), (3, 3)])
def test_few_assignments_of_plates_are_all_there_once(sizes):
    batch = np.repeat(np.arange(len(sizes)), sizes)
    every = {together(np.array(order)) for order in set(permutations(batch.tolist()))}
    found = plate_assignments(batch, 1000, np.random.default_rng(0))
    assert len(found) == n_distinct_assignments(batch) == len(every)
    assert {together(row) for row in found} == every
    np.testing.assert_array_equal(found[0], batch)


def test_many_assignments_are_drawn():
    batch = np.repeat(np.arange(4), 2)
    found = plate_assignments(batch, 99, np.random.default_rng(0))
    assert n_distinct_assignments(batch) == 105
    assert found.shape == (100, 8)
    assert (np.sort(found, axis=1) == batch).all()


def test_a_block_is_told_by_the_other_blocks_alone():
    rng = np.random.default_rng(0)
    wells, block = rng.standard_normal((30, 4)), np.arange(30) % 6
    rows = whitened(wells, np.zeros(30, dtype=np.int64))
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-6)
    label = np.array([0, 1, 0, 1, 2, 2])
    is_right, near = BlockProbe(rows, block).answers(label)
    for well in range(30):
        is_left = block != block[well]
        means = [rows[is_left & (label[block] == name)].mean(axis=0) for name in range(3)]
        distances = np.array([((rows[well] - mean) ** 2).sum() for mean in means])
        own = label[block[well]]
        assert is_right[well] == (distances.argmin() == own)
        assert near[well] == pytest.approx(1 / (1 + (distances[own] - distances.min()) / 2), rel=1e-4)


def test_mixing_is_the_share_of_neighbours_from_other_batches_over_what_numbers_give(judge):
    judged = judge(seed=1, n_batches=2)
    controls = np.flatnonzero(judged.is_held_out_control)
    wells = judged.vectors[controls].astype(np.float64)
    wells = wells - wells.mean(axis=0)
    wells /= np.linalg.norm(wells, axis=1, keepdims=True)
    plate, batch = judged.plate_index[controls], judged.wells["batch_id"].to_numpy()[controls]
    rows = [row for row in score(judged, n_neighbours=4) if row.metric == "batch_mixing" and row.level != "summary"]
    mixing = {}
    for number in np.unique(plate):
        shares = []
        for well in np.flatnonzero(plate == number):
            elsewhere = np.flatnonzero(plate != number)
            nearest = elsewhere[np.argsort(wells[elsewhere] @ wells[well])[-4:]]
            shares.append(np.mean(batch[nearest] != batch[well]))
        own = batch[plate == number][0]
        mixing.setdefault(own, []).append(np.mean(shares) / np.mean(batch[plate != number] != own))
    expected = {name: np.mean(values) for name, values in mixing.items()}
    assert {row.perturbation_id: row.value for row in rows} == pytest.approx(expected)


def test_biology_kept_is_the_replicate_retrieval_of_the_map(judge):
    judged = judge(seed=2)
    units = np.unique(np.array(judged.units), return_inverse=True)[1]
    wells = JudgedWells(
        batch_index=np.unique(judged.wells["batch_id"].to_numpy(), return_inverse=True)[1],
        unit_index=units,
        is_control=judged.is_held_out_control,
        is_treatment=judged.is_treatment,
    )
    table = batch_effect_rows("tvn", judged.vectors, wells, n_queries=10_000, seed=0)
    expected = dict(table.select("metric", "value").rows())["replicate_retrieval"]
    assert summaries(judged)["biology_kept"].value == pytest.approx(expected)


def test_a_batch_effect_is_seen_before_alignment_and_less_after_it(judge):
    raw = summaries(judge(seed=3, n_batches=4, batch_effect=6.0, is_aligned=False))
    aligned = summaries(judge(seed=3, n_batches=4, batch_effect=6.0))
    assert raw["batch_predictability"].value > 0.8 > aligned["batch_predictability"].value
    assert raw["batch_mixing"].value < 0.2
    assert aligned["batch_mixing"].value > 0.8
    assert raw["biology_kept"].value < aligned["biology_kept"].value
    assert raw["batch_predictability"].unit == "batch"


def test_treated_wells_can_be_judged_by(judge):
    rows = score(judge(seed=4, n_batches=4, is_aligned=False, batch_effect=6.0), wells="treated_wells")
    batches = [row for row in rows if row.metric == "batch_predictability" and row.level == "perturbation"]
    assert [row.perturbation_id for row in batches] == ["SIM-1", "SIM-2", "SIM-3", "SIM-4"]
    assert {row.n_units for row in batches} == {72}


def test_one_plate_a_batch_is_not_judged(judge):
    with pytest.raises(NotApplicable, match="of 3 batches 0 have held_out_controls on two plates"):
        score(judge(seed=5, n_plates_per_batch=1))
    with pytest.raises(NotApplicable, match="of 1 batches 1 have"):
        score(judge(seed=5, n_batches=1))


def test_a_screen_without_held_out_controls_is_judged_by_treated_wells_only(judge):
    judged = judge(seed=6)
    judged = type(judged)(**{**vars(judged), "is_held_out_control": np.zeros(len(judged.units), dtype=bool)})
    with pytest.raises(BenchmarkError, match="wells: treated_wells"):
        score(judged)
    assert score(judged, wells="treated_wells")
