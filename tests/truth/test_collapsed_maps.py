"""Collapsed maps: everything has one vector, or few vectors, whatever the labels say. None may score above chance.

Vectors are drawn without a look at the labels, so there is nothing to find. What is left of an effect is ties and
rounding errors. A benchmark either refuses such a map or scores it at chance; all registered benchmarks are tried.
"""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.scoring import influences_table, scores_table
from cellassets.errors import BenchmarkError
from cellassets.judging.comparison import Evidence
from cellassets.judging.gate import GatePolicy, judge_candidate
from cellassets.judging.production import judge_first
from cellassets.studies.simulated import simulate_map
from cellassets.synthetic.embeddings import SimulatedWells
from cellassets.tables.parquet import with_vectors

N_DIMENSIONS = 8
DESIGN = SimulatedWells(
    n_guides_per_gene=2, n_compounds=8, n_doses=3, n_combinations=6, n_lone_genes=12, gene_effect=0.0, seed=3
)


def _sharing(n, rng):
    """Half of the rows share one vector."""
    values = rng.standard_normal((n, N_DIMENSIONS))
    values[rng.permutation(n)[: n // 2]] = rng.standard_normal(N_DIMENSIONS)
    return values


def _two(n, rng):
    return rng.standard_normal((2, N_DIMENSIONS))[rng.integers(2, size=n)]


# every row has the same vector
EQUAL = {
    "constant": lambda n, _: np.ones((n, N_DIMENSIONS)),
    "rounding noise": lambda n, rng: np.ones((n, N_DIMENSIONS)) * (1 + 6e-8 * rng.standard_normal((n, N_DIMENSIONS))),
    "zeros": lambda n, _: np.zeros((n, N_DIMENSIONS)),
}
# few different vectors, or few different directions
POOR = {
    "one dimension": lambda n, rng: rng.standard_normal((n, 1)),
    "rank one": lambda n, rng: rng.standard_normal((n, 1)) * rng.standard_normal((1, N_DIMENSIONS)),
    "one direction": lambda n, rng: rng.uniform(0.5, 2, (n, 1)) * rng.standard_normal((1, N_DIMENSIONS)),
    "half share one vector": _sharing,
    "duplicated": lambda n, rng: rng.standard_normal((n, N_DIMENSIONS))[rng.integers(n // 2, size=n)],
    "two clusters": _two,
    "two clusters of rays": lambda n, rng: _two(n, rng) * rng.uniform(0.5, 2, (n, 1)),
}
# maps without any direction of their own: every cosine is one of two values
TWO_COSINES = ("one dimension", "rank one", "one direction", "two clusters", "two clusters of rays")


@pytest.fixture(scope="module")
def screen():
    return simulate_map(DESIGN, n_other_maps=1)


def collapsed(screen, family, seed):
    """The screen with vectors of a family, for its wells, its map and its other maps; in single precision."""
    tables = {"wells": screen.wells, "map": screen.map_table, **screen.other_maps}
    values = family(sum(table.height for table in tables.values()), np.random.default_rng(seed))
    ends = np.cumsum([table.height for table in tables.values()])
    parts = dict(zip(tables, np.split(values.astype(np.float32), ends[:-1]), strict=True))
    made = {name: with_vectors(table, parts[name]) for name, table in tables.items()}
    return replace(
        screen,
        wells=made["wells"],
        vectors=parts["wells"],
        map_table=made["map"],
        other_maps={name: made[name] for name in screen.other_maps},
    )


def headlines(name, screen, family, n_seeds):
    """The headline of several maps of one family; none where the benchmark refuses them as collapsed."""
    chosen, found = BENCHMARKS[name], []
    for seed in range(n_seeds):
        judged = collapsed(screen, family, seed)
        try:
            rows = chosen.score(judged, chosen.parameters(n_permutations=99, seed=seed + 10_000))
        except BenchmarkError as refusal:
            if "collapsed" not in str(refusal):
                raise
            return []
        found.append(next(r for r in rows if r.level == "summary" and r.metric == chosen.headline_metric))
    return found


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
@pytest.mark.parametrize("family", EQUAL)
def test_a_map_of_one_vector_is_refused_by_every_benchmark(screen, name, family):
    chosen = BENCHMARKS[name]
    with pytest.raises(BenchmarkError, match=f"{name}: the map is collapsed: all .* have the same vector"):
        chosen.rows(collapsed(screen, EQUAL[family], 0), chosen.parameters(n_permutations=99))


def test_perturbations_of_one_vector_are_refused_although_their_wells_differ(screen):
    chosen = BENCHMARKS["known_relationships"]
    constant = with_vectors(screen.map_table, np.ones((screen.map_table.height, N_DIMENSIONS)))
    with pytest.raises(BenchmarkError, match=r"collapsed: all .* perturbations have the same vector"):
        chosen.rows(replace(screen, map_table=constant), chosen.parameters(n_permutations=99))


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("name", sorted(BENCHMARKS))
@pytest.mark.parametrize("family", POOR)
def test_a_poor_map_scores_at_chance_in_every_benchmark(screen, n_of, name, family):
    rows = headlines(name, screen, POOR[family], n_of(24))
    if not rows:
        return
    n_small = sum(row.p_value <= 0.05 for row in rows)
    assert n_small <= binom.ppf(0.999, len(rows), 0.05)
    gains = np.array([row.value - row.null_mean for row in rows]) * (1 if BENCHMARKS[name].is_higher_better else -1)
    # null_low to null_high are four standard deviations of one score
    spread = np.mean([row.null_high - row.null_low for row in rows]) / 4 / np.sqrt(len(rows))
    assert gains.mean() <= 4 * spread + 1e-9


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("family", TWO_COSINES)
@pytest.mark.parametrize("name", ["known_relationships", "cell_type_generalisation"])
def test_ties_are_never_recalled(screen, name, family):
    for row in headlines(name, screen, POOR[family], 3):
        assert (row.value, row.null_mean, row.p_value) == (0.0, 0.0, 1.0)


def tables(judged_by_model, name):
    """Scores and influences of models; a model that the benchmark refuses has none."""
    chosen, scores, influences = BENCHMARKS[name], [], []
    for model_key, judged in judged_by_model.items():
        labels = {"benchmark_name": name, "model_key": model_key, "dataset_id": "SIM"}
        labels |= {"dataset_fingerprint": "f", "protocol_fingerprint": "p"}
        try:
            rows = chosen.rows(judged, chosen.parameters(n_permutations=199, seed=10_000))
        except BenchmarkError:
            rows = []
        scores.append(scores_table(rows, is_higher_better=True, **labels))
        influences.append(influences_table(rows, **labels))
    return Evidence(pl.concat(scores), pl.concat(influences))


@pytest.mark.parametrize("family", EQUAL | POOR)
def test_the_gate_lets_no_collapsed_map_through(screen, family):
    """The champion sees nothing either, so a candidate whose ties counted would be far better."""
    candidate = collapsed(screen, (EQUAL | POOR)[family], 1)
    evidence = tables({"candidate.v1": candidate, "blind.v1": screen}, "known_relationships")
    policy = GatePolicy(deciding_datasets=("SIM",))
    against = judge_candidate(
        evidence,
        policy,
        candidate="candidate.v1",
        champion="blind.v1",
        champion_judged_on=[("known_relationships", "SIM")],
    )
    assert not against.is_passed
    assert not judge_first(evidence.scores, policy, "candidate.v1").is_passed
