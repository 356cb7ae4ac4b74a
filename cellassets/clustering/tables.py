"""The rows and the summary of one resolution, from its clusters, their stability and their enrichment."""

import numpy as np
import polars as pl
from jaxtyping import Int

from cellassets.clustering.enrichment import n_rich_in_one_stratum
from cellassets.clustering.parameters import ClusterParameters
from cellassets.clustering.stability import Stability
from cellassets.clustering.summary import ResolutionSummary
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL

Labels = Int[np.ndarray, "row"]
STABILITY = {"stability": "jaccard", "null_mean": "null_mean", "null_high": "null_high"}  # columns of CLUSTERS


def cluster_rows(table: pl.DataFrame, resolution: int, labels: Labels, stability: Stability | None) -> pl.DataFrame:
    """Returns CLUSTERS rows of one resolution, sorted by cluster and perturbation.

    Args:
        table: PERTURBATION_MAP rows that were clustered.
        resolution: mean number of perturbations per cluster that was asked for.
        labels: the cluster of each row.
        stability: of the clusters; None where wells cannot be resampled.
    """
    empty = [None] * len(labels)
    found = {} if stability is None else {name: getattr(stability, name)[labels] for name in STABILITY.values()}
    return table.select(
        "dataset_id",
        "model_key",
        "perturbation_id",
        "gene_symbol",
        pl.lit(resolution).alias("resolution"),
        pl.Series("cluster_index", labels),
        pl.Series("n_members", np.bincount(labels)[labels]),
        *(pl.Series(column, found.get(name, empty), dtype=pl.Float64) for column, name in STABILITY.items()),
    ).sort("cluster_index", "perturbation_id")


def resolution_summary(
    resolution: int,
    labels: Labels,
    *,
    stability: Stability | None,
    enriched: pl.DataFrame,
    stratum: Int[np.ndarray, "row"],
    parameters: ClusterParameters,
) -> ResolutionSummary:
    """Returns the summary of one resolution.

    Args:
        resolution: mean number of perturbations per cluster that was asked for.
        labels: the cluster of each row.
        stability: of the clusters; None where wells cannot be resampled.
        enriched: ENRICHMENT rows of all resolutions.
        stratum: rows of one stratum are on the same plates.
        parameters: the sizes of tested clusters.
    """
    own = enriched.filter(pl.col("resolution") == resolution, pl.col("q_value") <= SIGNIFICANCE_LEVEL)
    is_arm = pl.col("source_kind") == "gene_arms"
    return ResolutionSummary(
        resolution=resolution,
        n_clusters=int(labels.max()) + 1,
        n_tested=int((np.bincount(labels) >= parameters.min_members).sum()),
        n_enriched=own.filter(~is_arm)["cluster_index"].n_unique(),
        n_of_one_arm=own.filter(is_arm)["cluster_index"].n_unique(),
        n_of_one_plate=n_rich_in_one_stratum(labels, stratum, parameters.min_members),
        **_repeatability(labels, stability),
    )


def _repeatability(labels: Labels, stability: Stability | None) -> dict[str, float]:
    if stability is None:
        return {}
    return {
        "adjusted_rand": stability.adjusted_rand,
        "null_adjusted_rand": stability.null_adjusted_rand,
        "p_value": stability.p_value,
        "stable_frac": float((stability.jaccard > stability.null_high)[labels].mean()),
    }
