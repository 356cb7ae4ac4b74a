"""Collapsed maps: wells that are all equal, or differ by rounding alone, never score above chance."""

from dataclasses import replace

import numpy as np
import pytest

from cellassets.benchmarks import definition
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.errors import BenchmarkError
from cellassets.mapping.aggregate import group_mean
from cellassets.studies.simulated import simulate_map
from cellassets.synthetic.embeddings import SimulatedWells
from cellassets.tables.parquet import with_vectors

SCREEN = SimulatedWells(
    n_batches=2, n_guides_per_gene=2, n_complexes=4, n_compounds=24, n_doses=2, n_positive_controls=3
)
MEASURES = (
    "compound_gene_matching",
    "grit",
    "mp_value",
    "percent_matching",
    "percent_replicating",
    "rxrx3_core_targets",
)
BASE = np.random.default_rng(5).standard_normal(8)
RNG = np.random.default_rng(6)
COLLAPSED = {
    "zeros": lambda n: np.zeros((n, 8)),
    "ones": lambda n: np.ones((n, 8)),
    "one vector": lambda n: np.tile(BASE, (n, 1)),
    "rounding noise": lambda n: np.tile(BASE, (n, 1)) * (1 + 1e-7 * RNG.standard_normal((n, 8))),
    "rounding noise on ones": lambda n: 1 + 1e-7 * RNG.standard_normal((n, 8)),
}


@pytest.fixture(scope="module")
def screen():
    """Returns one simulated map, whose wells are then replaced."""
    return simulate_map(SCREEN)


def collapsed(judged, values):
    """The map with these wells, and their means by perturbation."""
    values = values.astype(np.float32)
    names = judged.map_table["perturbation_id"].to_list()
    place = {name: number for number, name in enumerate(names)}
    means = group_mean(values, np.array([place[unit] for unit in judged.units]), len(names))
    wells, table = with_vectors(judged.wells, values), with_vectors(judged.map_table, means)
    return replace(judged, wells=wells, vectors=values, map_table=table)


def headline(name, judged):
    chosen = BENCHMARKS[name]
    # the function itself: the benchmark refuses such maps before it is called
    rows = definition._resolved(chosen.function)(judged, chosen.parameters(n_permutations=99))
    scores = [row for row in rows if isinstance(row, definition.Score)]
    return next(row for row in scores if row.level == "summary" and row.metric == chosen.headline_metric)


@pytest.mark.parametrize("kind", COLLAPSED)
@pytest.mark.parametrize("name", MEASURES)
def test_a_collapsed_map_scores_the_least_that_is_possible(screen, name, kind):
    found = headline(name, collapsed(screen, COLLAPSED[kind](len(screen.units))))
    assert found.p_value == 1.0
    assert found.value == pytest.approx(found.null_mean)
    if name.endswith(("replicating", "matching", "grit", "mp_value")) and name != "compound_gene_matching":
        assert found.value == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("kind", COLLAPSED)
@pytest.mark.parametrize("name", ["grit", "mp_value", "percent_matching", "percent_replicating"])
def test_the_published_measure_of_a_collapsed_map_is_a_number_or_a_refusal(screen, name, kind):
    chosen, judged = BENCHMARKS[name], collapsed(screen, COLLAPSED[kind](len(screen.units)))
    try:
        values = [row.value for row in chosen.published_values(judged, chosen.parameters())]
    except BenchmarkError as refusal:
        assert "equal" in str(refusal) or "do not vary" in str(refusal)  # noqa: PT017
    else:
        assert np.isfinite(values).all()


@pytest.mark.parametrize("name", MEASURES)
def test_two_clusters_and_one_dimension_that_mean_nothing_are_seldom_significant(screen, name):
    """Twelve maps; more than three p-values at or below 0.05 have a probability of 0.002."""
    rng, n_wells = np.random.default_rng(7), len(screen.units)
    maps = [np.outer(rng.standard_normal(n_wells), BASE) for _ in range(6)]
    maps += [np.stack([BASE, 0.3 - BASE])[rng.integers(0, 2, n_wells)] for _ in range(6)]
    assert sum(headline(name, collapsed(screen, values)).p_value <= 0.05 for values in maps) <= 3
