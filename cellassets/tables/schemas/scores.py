"""Tables that benchmarks publish."""

import polars as pl

from cellassets.tables.schema import Column, TableSchema
from cellassets.tables.schemas.columns import (
    EFFECT_SIZE,
    INTERVAL_COLUMNS,
    N_NULL_WELLS,
    NULL_COLUMNS,
    PART_COLUMNS,
    SCORED_COLUMNS,
)

SCORES = TableSchema(
    "scores",
    (
        Column("benchmark_name", pl.String(), "benchmark"),
        *SCORED_COLUMNS,
        *PART_COLUMNS,
        Column("metric", pl.String(), "what was measured"),
        Column("level", pl.String(), "summary, or perturbation (the units that the summary is the mean of)"),
        Column("perturbation_id", pl.String(), "perturbation, gene pair or batch; null in a summary", is_nullable=True),
        Column("value", pl.Float64(), "the score"),
        *NULL_COLUMNS,
        Column("p_value", pl.Float64(), "one-sided permutation p-value, +1 rule"),
        Column("q_value", pl.Float64(), "p-value after correction over the rows of its level", is_nullable=True),
        Column("correction", pl.String(), "the correction used, or none"),
        *INTERVAL_COLUMNS,
        Column("z_score", pl.Float64(), "value less null_mean, in standard deviations of the null", is_nullable=True),
        EFFECT_SIZE,
        Column("n_units", pl.Int64(), "units that the value is taken over (wells, pairs or perturbations)"),
        N_NULL_WELLS,
        Column("unit", pl.String(), "what is counted: well, pair, perturbation or batch"),
        Column("is_higher_better", pl.Boolean(), "direction of a better model"),
    ),
)

INFLUENCES = TableSchema(
    "influences",
    (
        Column("benchmark_name", pl.String(), "benchmark"),
        *SCORED_COLUMNS,
        Column("metric", pl.String(), "metric of the units whose mean is influenced"),
        Column("shared_id", pl.String(), "what the units share: a control well, or a perturbation compared with"),
        Column("influence", pl.Float64(), "by how much the mean would fall without it"),
    ),
)

PUBLISHED = TableSchema(
    "published",
    (
        Column("benchmark_name", pl.String(), "benchmark that it is shown beside"),
        *SCORED_COLUMNS,
        Column("statistic", pl.String(), "statistic of the literature; models are not ranked by it"),
        Column("source", pl.String(), "publication or code that defines it"),
        Column("value", pl.Float64(), "its value on this map"),
        Column("p_value", pl.Float64(), "its p-value as published, where it has one", is_nullable=True),
        Column("n_units", pl.Int64(), "perturbations, pairs, clusters or compounds behind the value"),
    ),
)
