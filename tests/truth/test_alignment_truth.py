"""Alignment removes planted batch effects by a measured amount, and keeps planted biology.

Means over eight seeds; docs/statistics.md quotes the figures.
"""

from itertools import combinations

import numpy as np
import polars as pl
import pytest

from cellassets.benchmarks import map_genes
from cellassets.benchmarks.judged import judged_map
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.knowledge.annotations import Annotations
from cellassets.mapping.aggregate import aggregate_wells
from cellassets.mapping.build import MapParameters, align_wells, map_held_out_controls
from cellassets.synthetic.embeddings import SimulatedWells, simulate_wells
from cellassets.tables.parquet import vectors, with_vectors

SEEDS = range(8)
STEPS = ({"kind": "pca", "n_components": 16}, {"kind": "centre_scale"}, {"kind": "tvn"})
PARAMETERS = MapParameters.model_validate({"steps": STEPS})
DESIGN = {
    "gene_effect": 3.0,
    "batch_effect": 6.0,
    "plate_effect": 0.0,
    "n_batches": 4,
    "n_controls_per_plate": 16,
}


def in_two_batches(wells, seed):
    """Leaves every gene in two batches of four, drawn at random: batches and genes can be taken for each other."""
    rng = np.random.default_rng(seed + 30_000)
    batches = wells["batch_id"].unique().sort().to_list()
    genes = wells["gene_symbol"].drop_nulls().unique().sort().to_list()
    kept = [(gene, batch) for gene in genes for batch in rng.choice(batches, 2, replace=False)]
    table = pl.DataFrame(kept, schema={"gene_symbol": pl.String, "batch_id": pl.String}, orient="row")
    is_control = pl.col("gene_symbol").is_null()
    treated = wells.join(table, on=["gene_symbol", "batch_id"], how="semi")
    return pl.concat([wells.filter(is_control), treated]).sort("experiment_id", "plate_id", "well_id")


def recall(wells, values, pairs, metric="recall"):
    units, unit_vectors = aggregate_wells(wells, values, aggregate_by="gene", method="mean")
    labels = units.with_columns(pl.lit("SIM").alias("dataset_id"), pl.lit("m.v1").alias("model_key"))
    judged = judged_map(
        with_vectors(wells, values),
        with_vectors(labels, unit_vectors),
        parameters=PARAMETERS,
        annotations=Annotations(pairs={"planted": pairs}),
    )
    chosen = BENCHMARKS["known_relationships"]
    rows = chosen.score(judged, chosen.parameters(n_permutations=99))
    return next(row for row in rows if row.metric == metric)


@pytest.fixture(scope="module")
def measured():
    """Mean over seeds of each figure, for every gene in every batch and in two of four."""
    found = {}
    for layout in ("balanced", "unbalanced"):
        rows = []
        for seed in SEEDS:
            wells, known = simulate_wells(SimulatedWells(seed=seed, **DESIGN))
            wells = wells if layout == "balanced" else in_two_batches(wells, seed)
            aligned, steps = align_wells(wells, map_held_out_controls(wells, PARAMETERS), PARAMETERS)
            values = {(row["metric"], row["step"]): row for row in steps.to_dicts()}
            rows.append(
                {
                    "batch_raw": values["batch_accuracy", "raw"]["value"],
                    "batch_aligned": values["batch_accuracy", "tvn"]["value"],
                    "batch_chance": values["batch_accuracy", "tvn"]["chance"],
                    "recall_raw": recall(wells, vectors(wells), known.pairs).value,
                    "recall_aligned": recall(wells, aligned, known.pairs).value,
                }
            )
        found[layout] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return found


@pytest.mark.parametrize("layout", ["balanced", "unbalanced"])
def test_alignment_takes_most_of_the_batch_effect_out_of_unseen_controls(measured, layout):
    figures = measured[layout]
    excess_raw = figures["batch_raw"] - figures["batch_chance"]
    excess_aligned = figures["batch_aligned"] - figures["batch_chance"]
    assert excess_raw > 0.7
    assert excess_aligned < 0.2 * excess_raw


def test_alignment_keeps_planted_complexes_where_batches_are_balanced(measured):
    figures = measured["balanced"]
    assert figures["recall_raw"] > 0.8
    assert figures["recall_aligned"] > figures["recall_raw"] - 0.03


def test_alignment_brings_planted_complexes_out_where_batches_hide_them(measured):
    figures = measured["unbalanced"]
    assert figures["recall_aligned"] > figures["recall_raw"] + 0.2


def of_plate_mates(seed):
    """P-value of random pairs within plates; every gene is on one of two plates, and only the plates differ.

    Pairs are as alike as their plate makes them: a null that swapped genes between plates would call that biology.
    """
    nothing = SimulatedWells(seed=seed, gene_effect=0.0, batch_effect=0.0, plate_effect=6.0, n_batches=1)
    wells, _ = simulate_wells(nothing)
    gene_number = pl.col("gene_symbol").str.slice(4).cast(pl.Int64)
    plate_number = pl.col("plate_id").str.slice(5).cast(pl.Int64)
    is_here = gene_number % 2 == plate_number % 2
    wells = wells.filter(is_here | pl.col("gene_symbol").is_null())
    genes = wells["gene_symbol"].drop_nulls().unique().sort().to_list()
    pairs = [pair for part in (genes[::2], genes[1::2]) for pair in combinations(part, 2)]
    pairs = np.random.default_rng(seed + 40_000).permutation(pairs)[: len(pairs) // 3]
    table = pl.DataFrame(pairs, schema={"entity1": pl.String, "entity2": pl.String}, orient="row")
    return recall(wells, vectors(wells), table, "recall_similar").p_value


def test_genes_that_share_a_plate_are_not_taken_for_related():
    p_values = np.array([of_plate_mates(seed) for seed in range(40)])
    assert (p_values <= 0.05).sum() <= 6  # binomial, 99.5%


def test_a_null_that_swaps_genes_between_plates_would_take_them_for_related(monkeypatch):
    monkeypatch.setattr(
        map_genes, "plate_strata", lambda _judged, units, _parameters: np.zeros(len(units), dtype=np.int64)
    )
    p_values = np.array([of_plate_mates(seed) for seed in range(20)])
    assert (p_values <= 0.05).mean() > 0.5
