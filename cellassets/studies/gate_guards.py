"""Guards of the gate between equal models: which margins simulated screens of several sizes can rule out.

Two models see the same biology, each with noise of its own. Their wells go through the real alignment, aggregation,
benchmarks and comparison. Every refusal is an error of too little data, and the gate should say so beforehand.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from cellassets.benchmarks.judged import judged_map
from cellassets.benchmarks.parts import WHOLE, Part
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.benchmarks.scoring import influences_table, scores_table
from cellassets.judging.comparison import Evidence
from cellassets.judging.gate import gains_of
from cellassets.judging.gate_row import Row, guarded_row
from cellassets.studies.simulated import SIMULATED_MAP, annotations_of, map_wells
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import vectors, with_vectors

SCREEN = SimulatedWells(n_lone_genes=0, gene_effect=3.0)
DATASET = "SIM"
UNSEEN_WELLS = Part(WHOLE, "unseen_experiments", ("SIM",))
N_PERMUTATIONS = 99


def guards_of_equal_models(names: Sequence[str], *, n_genes: int, margin: float, seed: int) -> list[Row]:
    """Returns the rows of GATE of the guards between two equal models.

    Args:
        names: guarded benchmarks.
        n_genes: genes of the simulated screen.
        margin: loss that must be ruled out.
        seed: of the screen and of the models' noise.
    """
    n_complexes = n_genes // SCREEN.genes_per_complex
    wells, known = simulate_wells(SCREEN.model_copy(update={"n_complexes": n_complexes, "seed": seed}))
    rng = np.random.default_rng(seed + 20_000)
    values = vectors(wells)
    scores, influences = [], []
    for model_key in ("a.v1", "b.v1"):
        noisy = with_vectors(wells, values + rng.standard_normal(values.shape))
        aligned, map_table = map_wells(noisy)
        judged = judged_map(
            aligned, map_table, parameters=SIMULATED_MAP, annotations=annotations_of(known), other_maps={}
        )
        for name in names:
            chosen = BENCHMARKS[name]
            rows = chosen.rows(judged, chosen.parameters(n_permutations=N_PERMUTATIONS, seed=seed + 10_000))
            shared = {"dataset_id": DATASET, "dataset_fingerprint": "f", "protocol_fingerprint": "p"}
            labels = {"benchmark_name": name, "model_key": model_key, **shared, **UNSEEN_WELLS.columns()}
            scores.append(scores_table(rows, is_higher_better=chosen.is_higher_better, **labels))
            influences.append(influences_table(rows, **labels))
    evidence = Evidence(pl.concat(scores), pl.concat(influences))
    gains = gains_of(evidence, "a.v1", "b.v1")
    return [guarded_row((name, DATASET), gains[name, DATASET], margin) for name in names]
