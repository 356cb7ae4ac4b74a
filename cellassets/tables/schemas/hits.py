"""Tables of active perturbations."""

import polars as pl

from cellassets.tables.schema import Column, TableSchema
from cellassets.tables.schemas.columns import INTERVAL_COLUMNS, NULL_COLUMNS, PERTURBATION_COLUMNS, SCORED_COLUMNS

HITS = TableSchema(
    "hits",
    (
        *SCORED_COLUMNS,
        *(column for column in PERTURBATION_COLUMNS if column.name != "control_kind"),
        Column("n_wells", pl.Int32(), "number of wells of the perturbation"),
        Column("n_controls", pl.Int32(), "held-out negative controls that they are compared with", is_nullable=True),
        Column("activity", pl.Float64(), "mean average precision of its wells against controls", is_nullable=True),
        Column("activity_null_mean", pl.Float64(), "mean of its null distribution", is_nullable=True),
        Column("activity_p_value", pl.Float64(), "permutation p-value of the activity", is_nullable=True),
        Column("activity_q_value", pl.Float64(), "that p-value corrected over perturbations", is_nullable=True),
        Column(
            "distance_sd",
            pl.Float64(),
            "distance of its mean from the controls of its plates, in standard deviations of a control well",
            is_nullable=True,
        ),
        Column("distance_sd_low", pl.Float64(), "lower end of the 95% interval of the distance", is_nullable=True),
        Column("distance_sd_high", pl.Float64(), "upper end of the 95% interval of the distance", is_nullable=True),
        Column("magnitude", pl.Float64(), "energy distance from controls, as a share of its largest", is_nullable=True),
        Column("magnitude_null_mean", pl.Float64(), "mean of its null distribution", is_nullable=True),
        Column("magnitude_low", pl.Float64(), "lower end of the 95% interval of the magnitude", is_nullable=True),
        Column("magnitude_high", pl.Float64(), "upper end of the 95% interval of the magnitude", is_nullable=True),
        Column("magnitude_p_value", pl.Float64(), "permutation p-value of the magnitude", is_nullable=True),
        Column("magnitude_q_value", pl.Float64(), "that p-value corrected over perturbations", is_nullable=True),
        Column("least_p_value", pl.Float64(), "smallest p-value that its wells allow", is_nullable=True),
        Column("is_active", pl.Boolean(), "true where the q-value of the deciding measure is at most the stated rate"),
        Column("lowest_active_um", pl.Float64(), "lowest active dose of its compound in micromolar", is_nullable=True),
        Column("not_tested", pl.String(), "why it could not be tested", is_nullable=True),
    ),
)

LOWEST_ACTIVE_DOSES = TableSchema(
    "lowest_active_doses",
    (
        *SCORED_COLUMNS,
        Column("compound_id", pl.String(), "compound with two doses or more"),
        Column("n_doses", pl.Int32(), "number of doses"),
        Column("lowest_um", pl.Float64(), "lowest dose in micromolar"),
        Column("highest_um", pl.Float64(), "highest dose in micromolar"),
        Column("n_wells", pl.Int32(), "wells over all doses"),
        Column("n_controls", pl.Int32(), "held-out negative controls that they are compared with"),
        Column("p_value", pl.Float64(), "permutation p-value of: no dose acts"),
        Column("q_value", pl.Float64(), "that p-value corrected over compounds"),
        Column("lowest_active_um", pl.Float64(), "lowest active dose in micromolar; null: none", is_nullable=True),
    ),
)

ACTIVE_SCORES = TableSchema(
    "active_scores",
    (
        *SCORED_COLUMNS,
        Column("benchmark_name", pl.String(), "benchmark that was computed among active perturbations"),
        Column("metric", pl.String(), "what was measured"),
        Column("n_active", pl.Int64(), "active perturbations"),
        Column("value", pl.Float64(), "the score among them"),
        *NULL_COLUMNS,
        Column("p_value", pl.Float64(), "one-sided permutation p-value, +1 rule"),
        *INTERVAL_COLUMNS,
        Column("n_units", pl.Int64(), "units that the value is taken over"),
        Column("unit", pl.String(), "what is counted: pair or perturbation"),
    ),
)
