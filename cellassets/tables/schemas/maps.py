"""Tables of embeddings and of maps: sites, wells, perturbations, the batch effect, and clusters."""

import polars as pl

from cellassets.tables.schema import Column, TableSchema
from cellassets.tables.schemas.columns import (
    BATCH,
    DATASET,
    EMBEDDING,
    EXPERIMENT,
    MODEL,
    PERTURBATION,
    PERTURBATION_COLUMNS,
    PLATE,
    SITE,
    WELL,
)

SITE_EMBEDDINGS = TableSchema("site_embeddings", (EXPERIMENT, PLATE, WELL, SITE, MODEL, EMBEDDING))

WELL_EMBEDDINGS = TableSchema(
    "well_embeddings",
    (
        EXPERIMENT,
        PLATE,
        WELL,
        BATCH,
        Column("cell_type", pl.String(), "cell line or type"),
        *PERTURBATION_COLUMNS,
        Column("n_sites", pl.Int32(), "number of sites over which the well's vector is the mean"),
        EMBEDDING,
    ),
)

PERTURBATION_MAP = TableSchema(
    "perturbation_map",
    (
        DATASET,
        MODEL,
        *PERTURBATION_COLUMNS,
        Column("n_wells", pl.Int32(), "number of wells that were aggregated"),
        Column("n_batches", pl.Int32(), "number of batches that these wells come from"),
        EMBEDDING,
    ),
)

BATCH_EFFECT = TableSchema(
    "batch_effect",
    (
        Column("step", pl.String(), "alignment step after which the effect was measured; raw: before the first step"),
        Column("metric", pl.String(), "measure of the batch effect"),
        Column("value", pl.Float64(), "value of the measure"),
        Column("chance", pl.Float64(), "expected value where batches do not differ"),
        Column("n_wells", pl.Int32(), "number of wells it was measured on"),
    ),
)

RESOLUTION = Column("resolution", pl.Int32(), "mean number of perturbations per cluster that was asked for")
CLUSTER = Column("cluster_index", pl.Int32(), "cluster within its resolution, 0 is the largest")

CLUSTERS = TableSchema(
    "clusters",
    (
        DATASET,
        MODEL,
        RESOLUTION,
        CLUSTER,
        PERTURBATION,
        Column("gene_symbol", pl.String(), "gene that was knocked out", is_nullable=True),
        Column("n_members", pl.Int32(), "perturbations in the cluster"),
        Column(
            "stability",
            pl.Float64(),
            "mean Jaccard similarity of the cluster to the most similar one of maps of resampled wells, 0 to 1",
            is_nullable=True,
        ),
        Column(
            "null_mean",
            pl.Float64(),
            "its mean over clusters of about the same size in maps of shuffled wells",
            is_nullable=True,
        ),
        Column("null_high", pl.Float64(), "97.5th percentile of its null distribution", is_nullable=True),
    ),
)

MAP_POINTS = TableSchema(
    "map_points",
    (
        DATASET,
        MODEL,
        PERTURBATION,
        Column("x", pl.Float32(), "first coordinate in the plane; the longer axis has a standard deviation of 1"),
        Column("y", pl.Float32(), "second coordinate in the plane"),
        Column(
            "agreement", pl.Float32(), "mean cosine between two of its wells; null where it has one", is_nullable=True
        ),
    ),
)

ENRICHMENT = TableSchema(
    "enrichment",
    (
        DATASET,
        MODEL,
        RESOLUTION,
        CLUSTER,
        Column("source_kind", pl.String(), "sets, targets (compounds of one target) or gene_arms"),
        Column("source", pl.String(), "annotation source"),
        Column("set_id", pl.String(), "annotated set, target gene or chromosome arm"),
        Column("n_overlap", pl.Int32(), "names that are in the cluster and in the set"),
        Column("n_cluster", pl.Int32(), "names of the background in the cluster"),
        Column("n_set", pl.Int32(), "names of the background in the set"),
        Column("n_background", pl.Int32(), "names of the map that the source could know"),
        Column("expected", pl.Float64(), "mean overlap with names drawn from the whole map"),
        Column("expected_permuted", pl.Float64(), "mean overlap with names permuted within the same plates"),
        Column("fold", pl.Float64(), "n_overlap divided by expected"),
        Column("p_hypergeometric", pl.Float64(), "p-value with names drawn from the whole map"),
        Column("p_permutation", pl.Float64(), "exact p-value with names permuted within the same plates"),
        Column("q_value", pl.Float64(), "p_permutation after correction over all tests of the source"),
        Column("members", pl.String(), "the names in both, separated by semicolons"),
    ),
)
