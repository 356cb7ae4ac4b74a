"""The tables of cellassets: columns, types and units. The same quantity has the same column name in every table."""

import polars as pl

from cellassets.tables.schema import Column, TableSchema

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

WELLS = TableSchema(
    "wells",
    (EXPERIMENT, PLATE, WELL, Column("cell_type", pl.String(), "cell line or type"), *PERTURBATION_COLUMNS),
)

IMAGES = TableSchema(
    "images",
    (
        EXPERIMENT,
        PLATE,
        WELL,
        SITE,
        Column("channel_index", pl.Int32(), "channel, 1-based as on disk"),
        Column("channel_name", pl.String(), "stain or channel name"),
        Column("path", pl.String(), "file below the experiment's landing folder"),
        Column("n_bytes", pl.Int64(), "file size in bytes"),
        Column("crc32c", pl.UInt32(), "CRC32C of the file's bytes"),
        Column("height", pl.Int32(), "image height in pixels"),
        Column("width", pl.Int32(), "image width in pixels"),
        Column("dtype", pl.String(), "numpy dtype of the pixels"),
        Column("is_usable", pl.Boolean(), "false where the site of the image is dropped"),
    ),
)

FINDINGS = TableSchema(
    "findings",
    (
        Column("finding_kind", pl.String(), "kind of finding, one of cellassets.screens.findings.FindingKind"),
        EXPERIMENT,
        Column("plate_id", pl.String(), "plate", is_nullable=True),
        Column("well_id", pl.String(), "well", is_nullable=True),
        Column("site_index", pl.Int32(), "site, 1-based", is_nullable=True),
        Column("channel_index", pl.Int32(), "channel, 1-based", is_nullable=True),
        Column("path", pl.String(), "file below the experiment's landing folder", is_nullable=True),
        Column("message", pl.String(), "what was found and what was expected"),
        Column(
            "consequence",
            pl.String(),
            "what the finding costs: refused, site_dropped, well_dropped, file_ignored or none",
        ),
    ),
)

SITES = TableSchema(
    "sites",
    (
        EXPERIMENT,
        PLATE,
        WELL,
        SITE,
        Column("row_index", pl.Int32(), "row in the plate's Zarr array, 0-based"),
        Column("channel_mean", pl.Array(pl.Float32, 1), "mean pixel value per channel in grey levels"),
        Column(
            "channel_std", pl.Array(pl.Float32, 1), "standard deviation of the pixel values per channel in grey levels"
        ),
    ),
)

QUALITY = TableSchema(
    "quality",
    (
        EXPERIMENT,
        PLATE,
        WELL,
        SITE,
        Column(
            "focus", pl.Float32(), "log-log slope of the nuclear channel's power spectrum; lower values are blurrier"
        ),
        Column(
            "saturation_frac",
            pl.Float32(),
            "fraction of pixels at the largest value of the pixel type, in the worst channel",
        ),
        Column("background", pl.Float32(), "5th percentile of the pixel values, mean over channels, in grey levels"),
        Column("illumination", pl.Float32(), "coefficient of variation of the smoothed background field"),
        Column("n_nuclei", pl.Int32(), "number of nuclei"),
        Column("is_flagged", pl.Boolean(), "true where the site should not be used"),
        Column("flag_reason", pl.String(), "reasons for the flag, joined by ';'", is_nullable=True),
    ),
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

SCORES = TableSchema(
    "scores",
    (
        Column("benchmark_name", pl.String(), "benchmark"),
        DATASET,
        Column("dataset_fingerprint", pl.String(), "wells that the dataset held"),
        PROTOCOL,
        MODEL,
        *PART_COLUMNS,
        Column("metric", pl.String(), "what was measured"),
        Column("level", pl.String(), "summary, or perturbation (the units that the summary is the mean of)"),
        Column("perturbation_id", pl.String(), "perturbation, gene pair or batch; null in a summary", is_nullable=True),
        Column("value", pl.Float64(), "the score"),
        Column("null_mean", pl.Float64(), "mean of its null distribution"),
        Column("null_low", pl.Float64(), "2.5th percentile of its null distribution"),
        Column("null_high", pl.Float64(), "97.5th percentile of its null distribution"),
        Column("p_value", pl.Float64(), "one-sided permutation p-value, +1 rule"),
        Column("q_value", pl.Float64(), "p-value after correction over the rows of its level", is_nullable=True),
        Column("correction", pl.String(), "the correction used, or none"),
        Column("interval_low", pl.Float64(), "lower end of the 95% interval", is_nullable=True),
        Column("interval_high", pl.Float64(), "upper end of the 95% interval", is_nullable=True),
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
        DATASET,
        Column("dataset_fingerprint", pl.String(), "wells that the dataset held"),
        PROTOCOL,
        MODEL,
        Column("metric", pl.String(), "metric of the units whose mean is influenced"),
        Column("shared_id", pl.String(), "what the units share: a control well, or a perturbation compared with"),
        Column("influence", pl.Float64(), "by how much the mean would fall without it"),
    ),
)

PUBLISHED = TableSchema(
    "published",
    (
        Column("benchmark_name", pl.String(), "benchmark that it is shown beside"),
        DATASET,
        Column("dataset_fingerprint", pl.String(), "wells that the dataset held"),
        PROTOCOL,
        MODEL,
        Column("statistic", pl.String(), "statistic of the literature; models are not ranked by it"),
        Column("source", pl.String(), "publication or code that defines it"),
        Column("value", pl.Float64(), "its value on this map"),
        Column("p_value", pl.Float64(), "its p-value as published, where it has one", is_nullable=True),
        Column("n_units", pl.Int64(), "perturbations, pairs, clusters or compounds behind the value"),
    ),
)

HITS = TableSchema(
    "hits",
    (
        DATASET,
        Column("dataset_fingerprint", pl.String(), "wells that the dataset held"),
        PROTOCOL,
        MODEL,
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
        DATASET,
        Column("dataset_fingerprint", pl.String(), "wells that the dataset held"),
        PROTOCOL,
        MODEL,
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
        DATASET,
        Column("dataset_fingerprint", pl.String(), "wells that the dataset held"),
        PROTOCOL,
        MODEL,
        Column("benchmark_name", pl.String(), "benchmark that was computed among active perturbations"),
        Column("metric", pl.String(), "what was measured"),
        Column("n_active", pl.Int64(), "active perturbations"),
        Column("value", pl.Float64(), "the score among them"),
        Column("null_mean", pl.Float64(), "mean of its null distribution"),
        Column("null_low", pl.Float64(), "2.5th percentile of its null distribution"),
        Column("null_high", pl.Float64(), "97.5th percentile of its null distribution"),
        Column("p_value", pl.Float64(), "one-sided permutation p-value, +1 rule"),
        Column("interval_low", pl.Float64(), "lower end of the 95% interval", is_nullable=True),
        Column("interval_high", pl.Float64(), "upper end of the 95% interval", is_nullable=True),
        Column("n_units", pl.Int64(), "units that the value is taken over"),
        Column("unit", pl.String(), "what is counted: pair or perturbation"),
    ),
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
        Column("null_mean", pl.Float64(), "mean of its null distribution"),
        Column("null_low", pl.Float64(), "2.5th percentile of its null distribution"),
        Column("null_high", pl.Float64(), "97.5th percentile of its null distribution"),
        Column("p_value", pl.Float64(), "permutation p-value"),
        Column("interval_low", pl.Float64(), "lower end of the 95% interval", is_nullable=True),
        Column("interval_high", pl.Float64(), "upper end of the 95% interval", is_nullable=True),
        Column("z_score", pl.Float64(), "value less null_mean, in standard deviations of the null", is_nullable=True),
        EFFECT_SIZE,
        Column("n_units", pl.Int64(), "units that the value is taken over"),
        N_NULL_WELLS,
        Column(
            "is_stale",
            pl.Boolean(),
            "true where the score would be taken otherwise now: other wells, annotations, settings or code",
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
        Column("null_mean", pl.Float64(), "mean of its null distribution"),
        Column("null_low", pl.Float64(), "2.5th percentile of its null distribution"),
        Column("null_high", pl.Float64(), "97.5th percentile of its null distribution"),
        Column("p_value", pl.Float64(), "permutation p-value"),
        Column("interval_low", pl.Float64(), "lower end of the 95% interval", is_nullable=True),
        Column("interval_high", pl.Float64(), "upper end of the 95% interval", is_nullable=True),
        Column("n_units", pl.Int64(), "pairs of the source with both genes in the map"),
    ),
)

DIFFERENCES = TableSchema(
    "differences",
    (
        Column("benchmark_name", pl.String(), "benchmark"),
        Column("metric", pl.String(), "its headline metric"),
        DATASET,
        Column("dataset_fingerprint", pl.String(), "wells that the dataset held"),
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
