"""Columns that several tables share: the same quantity has the same name, type and unit everywhere."""

import polars as pl

from cellassets.tables.schema import Column

EXPERIMENT = Column("experiment_id", pl.String(), "experiment (partition key)")
PLATE = Column("plate_id", pl.String(), "plate within the experiment, named like its folder")
WELL = Column("well_id", pl.String(), "well: row letters and two-digit column, such as B07")
SITE = Column("site_index", pl.Int32(), "site (field of view) within the well, 1-based as on disk")
BATCH = Column(
    "batch_id", pl.String(), "group of wells that are aligned together: an experiment unless the dataset says otherwise"
)
PERTURBATION = Column("perturbation_id", pl.String(), "perturbation of the well, dose included")
MODEL = Column("model_key", pl.String(), "registered model version, <name>.v<version>")
DATASET = Column("dataset_id", pl.String(), "dataset: named set of wells on which models are judged")
PROTOCOL = Column(
    "protocol_fingerprint", pl.String(), "all that the score depends on but the model; only equal ones are compared"
)
DATASET_FINGERPRINT = Column("dataset_fingerprint", pl.String(), "wells that the dataset held")
SCORED_COLUMNS = (DATASET, DATASET_FINGERPRINT, PROTOCOL, MODEL)  # what a score, or a hit, is of
PART_COLUMNS = (
    Column("part_id", pl.String(), "part of the dataset: `all`, or a fingerprint of its experiments"),
    Column(
        "exposure",
        pl.String(),
        "what the model has seen of them: training, validation, unknown, unseen_experiments or unseen_cell_type",
    ),
    Column("experiments", pl.String(), "experiments of the part, the first few where there are many"),
    Column("n_experiments", pl.Int32(), "number of experiments of the part"),
    Column(
        "unseen_perturbations_frac",
        pl.Float64(),
        "share of the perturbations that were no classes of the model's training; null if that is not known",
        is_nullable=True,
    ),
)
EFFECT_SIZE = Column(
    "effect_size",
    pl.Float64(),
    "share of the way from null_mean (0) to the end of the metric's scale (1); null where the scale has no end",
    is_nullable=True,
)
N_NULL_WELLS = Column(
    "n_null_wells",
    pl.Int64(),
    "treated wells behind null distribution and p-value where these are a random part; null: all",
    is_nullable=True,
)
EMBEDDING = Column("embedding", pl.Array(pl.Float32, 1), "vector; its length depends on the model or the map")

PERTURBATION_COLUMNS = (
    PERTURBATION,
    Column("perturbation_kind", pl.String(), "gene, compound or control"),
    Column("gene_symbol", pl.String(), "gene that was knocked out", is_nullable=True),
    Column("guide_id", pl.String(), "guide or siRNA that knocked it out", is_nullable=True),
    Column("compound_id", pl.String(), "compound that was added", is_nullable=True),
    Column("concentration_um", pl.Float64(), "concentration of the compound in micromolar", is_nullable=True),
    Column("control_kind", pl.String(), "negative, positive, untreated, or null", is_nullable=True),
)

NULL_COLUMNS = (
    Column("null_mean", pl.Float64(), "mean of its null distribution"),
    Column("null_low", pl.Float64(), "2.5th percentile of its null distribution"),
    Column("null_high", pl.Float64(), "97.5th percentile of its null distribution"),
)
INTERVAL_COLUMNS = (
    Column("interval_low", pl.Float64(), "lower end of the 95% interval", is_nullable=True),
    Column("interval_high", pl.Float64(), "upper end of the 95% interval", is_nullable=True),
)
