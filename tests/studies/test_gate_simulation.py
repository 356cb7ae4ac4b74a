"""The simulation of the production gate: its p-values are the gate's, and its page says what was found."""

import numpy as np
import polars as pl
import pytest

from cellassets.judging.gain import Gain
from cellassets.statistics.permutation import mean_over_nodes
from cellassets.studies import gate_page
from cellassets.studies.gate_page import gate_section, run_gate_study
from cellassets.studies.gate_simulation import METHODS, SimulatedStream, is_promoted, promotions, simulate_stream

SMALL = SimulatedStream(n_genes=40)


def test_p_values_of_a_stream_are_those_of_the_gate():
    stream = simulate_stream(SMALL, [0.0, 0.1, -0.1])
    differences = stream.recalled[1:].astype(float) - stream.recalled[0]
    expected = [Gain(mean_over_nodes(row, stream.genes)).p_value() for row in differences]
    assert stream.p_values(0)[1:] == pytest.approx(expected, rel=1e-9)
    assert stream.p_values(0)[0] == 1.0


def test_models_recall_as_much_as_was_planted():
    stream = simulate_stream(SimulatedStream(n_genes=20_000), [0.0, 0.1])
    assert stream.recalled.mean(axis=1) == pytest.approx([0.4, 0.4, 0.5], abs=0.02)


def test_a_promotion_begins_a_new_sequence_with_the_new_champion():
    against = {0: [1.0, 0.9, 0.004, 0.004], 2: [1.0, 1.0, 1.0, 0.004], 3: [1.0] * 4}
    found = promotions(lambda champion: np.array(against[champion]), METHODS["the gate"])
    assert found == [2, 3], "0.9 is not counted, so 0.004 is below the level 0.0045 of a first candidate, twice"
    assert promotions(lambda _: np.array([1.0, 0.4, 0.004, 0.0019]), METHODS["the gate"]) == []


def test_two_hundred_equal_candidates_seldom_replace_the_champion_where_the_sequence_is_corrected():
    """In 40 streams, 6 or more promotions have a probability of 0.014 at a chance of 0.05."""
    found = [gate_page.n_promotions(SMALL.model_copy(update={"seed": seed}), 200) for seed in range(40)]
    n_streams = {name: sum(one[name] > 0 for one in found) for name in METHODS}
    assert n_streams["the gate"] < 6
    assert n_streams["no correction"] > 20


def test_a_better_candidate_is_promoted_also_late_in_a_stream_of_worse_ones():
    design = SimulatedStream(n_genes=240)
    found = [
        is_promoted(design.model_copy(update={"seed": seed}), [0.25, 0.0], [-0.1] * 100)["the gate"]
        for seed in range(5)
    ]
    assert [better for better, _ in found] == [True] * 5
    assert [equal for _, equal in found] == [False] * 5


def test_the_page_has_every_simulation(monkeypatch):
    monkeypatch.setattr(gate_page, "SIZES", (40,))
    monkeypatch.setattr(gate_page, "GUARDS", ("perturbation_magnitude",))
    study = run_gate_study(n_null=2, n_power=2, n_guards=2, guard_genes=(12,))
    assert study.power.height == len(gate_page.BEFORE) * len(METHODS) * len(gate_page.GAINS)
    assert study.guards["n_genes"].to_list() == [12, 12]
    page = gate_section(study)
    n_passed = study.guards["is_passed"].sum()
    assert f"| 12, perturbation_magnitude | 2 | {n_passed} | " in page
    assert f"| 12, all of them | 2 | {n_passed} | " in page
    assert f"| the gate | {(study.n_promoted['the gate'] > 0).mean():.3f} | " in page
    first = study.power.filter(pl.col("place") == "first", pl.col("method") == "no correction")["power"]
    assert f"| 40, first, no correction | {' | '.join(f'{value:.2f}' for value in first)} |" in page
