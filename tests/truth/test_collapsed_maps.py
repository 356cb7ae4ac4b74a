"""Collapsed maps on every registered benchmark and on the gate: refused, or at chance.

The families are those of `cellassets.studies.collapsed_maps`; a benchmark that is registered later is tried too.
"""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from cellassets.benchmarks.parts import Part
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.scoring import influences_table, scores_table
from cellassets.errors import BenchmarkError
from cellassets.judging.comparison import Evidence
from cellassets.judging.gate import GatePolicy, judge_candidate
from cellassets.judging.production import judge_first
from cellassets.studies.collapsed_maps import (
    EQUAL,
    FAMILIES,
    POOR,
    SCREEN,
    collapsed_map,
    collapsed_section,
    collapsed_study,
    headline_of,
)
from cellassets.studies.simulated import simulate_map
from cellassets.tables.parquet import with_vectors

TWO_COSINES = sorted(POOR.keys() - {"half share one vector", "duplicated"})  # every cosine is one of two, or of three


@pytest.fixture(scope="module")
def screen():
    return simulate_map(SCREEN, n_other_maps=1)


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
@pytest.mark.parametrize("family", EQUAL)
def test_a_map_of_one_vector_is_refused_by_every_benchmark(screen, name, family):
    chosen = BENCHMARKS[name]
    with pytest.raises(BenchmarkError, match=rf"{name}: the map is collapsed: all .* have the same vector"):
        chosen.rows(collapsed_map(screen, family, 0), chosen.parameters(n_permutations=99))


def test_perturbations_of_one_vector_are_refused_although_their_wells_differ(screen):
    chosen = BENCHMARKS["known_relationships"]
    constant = with_vectors(screen.map_table, np.ones((screen.map_table.height, 8)))
    with pytest.raises(BenchmarkError, match=r"collapsed: all .* perturbations have the same vector"):
        chosen.rows(replace(screen, map_table=constant), chosen.parameters(n_permutations=99))


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
@pytest.mark.parametrize("family", POOR)
def test_a_poor_map_scores_at_chance_in_every_benchmark(screen, n_of, name, family):
    rows = [headline_of(name, collapsed_map(screen, family, seed), seed) for seed in range(n_of(24, 0.25))]
    rows = [row for row in rows if row is not None]
    assert sum(row.p_value <= 0.05 for row in rows) <= binom.ppf(0.999, len(rows), 0.05)
    gains = np.array([row.value - row.null_mean for row in rows]) * (1 if BENCHMARKS[name].is_higher_better else -1)
    spread = np.mean([row.null_high - row.null_low for row in rows]) / 4  # of one score
    assert gains.mean() <= 4 * spread / np.sqrt(len(rows)) + 1e-9


@pytest.mark.parametrize("family", TWO_COSINES)
@pytest.mark.parametrize("name", ["known_relationships", "cell_type_generalisation"])
def test_ties_are_never_recalled(screen, name, family):
    for seed in range(3):
        row = headline_of(name, collapsed_map(screen, family, seed), seed)
        assert (row.value, row.null_mean, row.p_value) == (0.0, 0.0, 1.0)


def test_the_study_shows_refusals_and_scores_at_chance():
    study = collapsed_study(["known_relationships"], n_seeds=2)
    assert study.filter("is_refused")["family"].to_list() == list(EQUAL)
    assert study.filter(~pl.col("is_refused")).height == 2 * len(POOR)
    last = collapsed_section(study).splitlines()[-1]
    assert last.startswith("| known_relationships | refused | refused | refused | 0.00 (+0.00) |")


def tables(judged_by_model, name):
    """Scores and influences of models; a model that the benchmark refuses has none."""
    chosen, scores, influences = BENCHMARKS[name], [], []
    for model_key, judged in judged_by_model.items():
        labels = {"benchmark_name": name, "model_key": model_key, "dataset_id": "SIM"}
        labels |= {"dataset_fingerprint": "f", "protocol_fingerprint": "p"}
        labels |= Part("all", "unseen_experiments", ("E1",)).columns()
        try:
            rows = chosen.rows(judged, chosen.parameters(n_permutations=199, seed=10_000))
        except BenchmarkError:
            rows = []
        scores.append(scores_table(rows, is_higher_better=True, **labels))
        influences.append(influences_table(rows, **labels))
    return Evidence(pl.concat(scores), pl.concat(influences))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_gate_lets_no_collapsed_map_through(screen, family):
    """The champion sees nothing either, so a candidate whose ties counted would be far better."""
    models = {"candidate.v1": collapsed_map(screen, family, 1), "blind.v1": screen}
    evidence = tables(models, "known_relationships")
    policy = GatePolicy(deciding_datasets=("SIM",))
    judged_on = [("known_relationships", "SIM")]
    decision = judge_candidate(
        evidence, policy, candidate="candidate.v1", champion="blind.v1", champion_judged_on=judged_on
    )
    assert not decision.is_passed
    assert not judge_first(evidence.scores, policy, "candidate.v1").is_passed
