"""Simulated maps in which half of the perturbations are active, and the settings of the benchmarks."""

import pytest

from cellassets.benchmarks.registry import find_benchmark
from cellassets.hits.parameters import MEASURES, SECOND_STEP
from cellassets.studies.simulated import simulate_map
from cellassets.synthetic.embeddings import SimulatedWells


@pytest.fixture(scope="session")
def settings():
    """Default parameters of the benchmarks of both steps."""
    return {name: find_benchmark(name).parameters(n_permutations=199) for name in (*MEASURES, *SECOND_STEP)}


@pytest.fixture(scope="session")
def judged():
    """A map of 18 genes with effects, in six complexes, and of three compounds without an effect at four doses."""
    return simulate_map(
        SimulatedWells(
            n_complexes=6, n_lone_genes=0, gene_effect=5.0, n_compounds=3, n_doses=4, compound_effect=0.0,
            n_guides_per_gene=2, n_controls_per_plate=16,
        )
    )  # fmt: skip
