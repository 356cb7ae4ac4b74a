"""Tables that compare models: leaderboard, recall by source, differences and the gate."""

import polars as pl

from cellassets.tables.schema import Column, TableSchema
from cellassets.tables.schemas.columns import (
    DATASET,
    DATASET_FINGERPRINT,
    EFFECT_SIZE,
    INTERVAL_COLUMNS,
    MODEL,
    N_NULL_WELLS,
    NULL_COLUMNS,
    PART_COLUMNS,
    PROTOCOL,
)

LEADERBOARD = TableSchema(
    "leaderboard",
    (
        Column("benchmark_name", pl.String(), "benchmark"),
        Column("metric", pl.String(), "its headline metric"),
        DATASET,
        Column("dataset_fingerprint", pl.String(), "wells that the score was taken on"),
        PROTOCOL,
        MODEL,
        *PART_COLUMNS,
        Column(
            "is_main_part",
            pl.Boolean(),
            "true for the part that models are ranked on: the one that most models have not seen",
        ),
        Column(
            "rank",
            pl.Int32(),
            "1 is best among models that have not seen these wells; null for the others",
            is_nullable=True,
        ),
        Column("value", pl.Float64(), "the score"),
        *NULL_COLUMNS,
        Column("p_value", pl.Float64(), "permutation p-value"),
        *INTERVAL_COLUMNS,
        Column("z_score", pl.Float64(), "value less null_mean, in standard deviations of the null", is_nullable=True),
        EFFECT_SIZE,
        Column("n_units", pl.Int64(), "units that the value is taken over"),
        N_NULL_WELLS,
        Column(
            "is_stale",
            pl.Boolean(),
            "true where the score would be taken otherwise now: other wells, annotations, settings or code",
        ),
        Column(
            "is_over_corrected",
            pl.Boolean(),
            "true where a nuisance is below chance; null for benchmarks that declare no over-correction",
            is_nullable=True,
        ),
    ),
)

RECALL_BY_SOURCE = TableSchema(
    "recall_by_source",
    (
        DATASET,
        PROTOCOL,
        MODEL,
        Column("source", pl.String(), "annotation source, or all sources together"),
        Column("value", pl.Float64(), "recall of its pairs"),
        *NULL_COLUMNS,
        Column("p_value", pl.Float64(), "permutation p-value"),
        *INTERVAL_COLUMNS,
        Column("n_units", pl.Int64(), "pairs of the source with both genes in the map"),
    ),
)

DIFFERENCES = TableSchema(
    "differences",
    (
        Column("benchmark_name", pl.String(), "benchmark"),
        Column("metric", pl.String(), "its headline metric"),
        DATASET,
        DATASET_FINGERPRINT,
        PROTOCOL,
        *PART_COLUMNS[:1],
        *PART_COLUMNS[2:4],
        Column("model_key_a", pl.String(), "first model"),
        Column("model_key_b", pl.String(), "second model"),
        Column("difference", pl.Float64(), "score of a minus score of b, on the same perturbations"),
        Column("interval_low", pl.Float64(), "lower end of the 95% interval of the difference"),
        Column("interval_high", pl.Float64(), "upper end of the 95% interval of the difference"),
        Column("p_value", pl.Float64(), "two-sided paired p-value"),
        Column(
            "q_value", pl.Float64(), "p-value after correction over the declared comparisons of the same two models"
        ),
        Column("n_pairs", pl.Int64(), "perturbations in common"),
        Column("n_free", pl.Int64(), "degrees of freedom: perturbations, or genes that pairs share, less one"),
    ),
)

GATE = TableSchema(
    "gate",
    (
        Column("role", pl.String(), "deciding (must be better) or guarded (must not be worse)"),
        Column("benchmark_name", pl.String(), "benchmark"),
        DATASET,
        Column("gain", pl.Float64(), "how much better the candidate is, in the benchmark's units", is_nullable=True),
        Column("interval_low", pl.Float64(), "lower end of the gain's 95% interval", is_nullable=True),
        Column("interval_high", pl.Float64(), "upper end of the gain's 95% interval", is_nullable=True),
        Column("standard_error", pl.Float64(), "standard error of the gain", is_nullable=True),
        Column("margin", pl.Float64(), "guarded: loss that must be ruled out", is_nullable=True),
        Column("largest_p_value", pl.Float64(), "the largest p-value that passes", is_nullable=True),
        Column(
            "p_value",
            pl.Float64(),
            "one-sided, of no gain (deciding) or a loss of the margin (guarded)",
            is_nullable=True,
        ),
        Column(
            "detectable",
            pl.Float64(),
            "gain that the data at hand find, or loss that they rule out for equal models, in 8 of 10 cases",
            is_nullable=True,
        ),
        Column(
            "n_needed",
            pl.Int64(),
            "guarded: perturbations that rule out a loss of the margin for equal models in 8 of 10 cases",
            is_nullable=True,
        ),
        Column("n_pairs", pl.Int64(), "perturbations or pairs in common", is_nullable=True),
        Column("is_passed", pl.Boolean(), "true where nothing stands against the candidate here"),
        Column("verdict", pl.String(), "in words"),
    ),
)
