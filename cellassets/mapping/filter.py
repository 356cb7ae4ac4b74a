"""From sites to wells: leaves out flagged sites and averages the others.

The input is the site embeddings and the site quality of one experiment; the output has one row per well and goes to
alignment.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from cellassets.errors import AlignmentError
from cellassets.mapping.aggregate import group_mean
from cellassets.mapping.dataset import QualityLimits
from cellassets.tables.parquet import vectors, with_vectors
from cellassets.tables.schemas import WELL_EMBEDDINGS

NO_LIMITS = QualityLimits()
WELL_KEYS = ["experiment_id", "plate_id", "well_id"]
SITE_KEYS = [*WELL_KEYS, "site_index"]


@dataclass(frozen=True)
class FilteredWells:
    """The wells that remain, as a WELL_EMBEDDINGS table, and the numbers of what was left out."""

    wells: pl.DataFrame
    n_sites_flagged: int
    n_wells_dropped: int


def filter_sites(sites: pl.DataFrame, quality: pl.DataFrame, limits: QualityLimits = NO_LIMITS) -> pl.DataFrame:
    """Returns the site embeddings of the sites that are not flagged and are within the limits of the dataset.

    Args:
        sites: SITE_EMBEDDINGS of one experiment.
        quality: QUALITY of the same experiment.
        limits: the quality limits of the dataset.

    Raises:
        AlignmentError: a site has an embedding but no row in the quality table.
    """
    is_out = pl.any_horizontal("is_flagged", *_beyond(limits)).alias("is_flagged")
    joined = sites.join(quality.select(*SITE_KEYS, is_out), on=SITE_KEYS, how="left", maintain_order="left")
    unknown = joined.filter(pl.col("is_flagged").is_null())
    if unknown.height:
        site = unknown.row(0, named=True)
        message = (
            f"experiment {site['experiment_id']}, plate {site['plate_id']}, well {site['well_id']}, site "
            f"{site['site_index']}: it has an embedding but no row in plate_quality ({unknown.height} such sites); "
            "materialise plate_quality of this experiment again"
        )
        raise AlignmentError(message)
    return joined.filter(~pl.col("is_flagged")).drop("is_flagged")


def _beyond(limits: QualityLimits) -> list[pl.Expr]:
    """One condition per limit that is set; true for a site beyond the limit."""
    rules = []
    if limits.min_focus is not None:
        rules.append(pl.col("focus") < limits.min_focus)
    if limits.max_saturation_frac is not None:
        rules.append(pl.col("saturation_frac") > limits.max_saturation_frac)
    if limits.min_nuclei is not None:
        rules.append(pl.col("n_nuclei") < limits.min_nuclei)
    return rules


def average_sites(sites: pl.DataFrame, wells: pl.DataFrame) -> pl.DataFrame:
    """Returns the wells that have at least one site, as WELL_EMBEDDINGS rows; each vector is the mean of its sites.

    Raises:
        AlignmentError: the vector of a well is not finite.
    """
    joined = sites.join(wells, on=WELL_KEYS, how="inner", maintain_order="left")
    groups = joined.select(WELL_KEYS).unique().sort(WELL_KEYS).with_row_index("group")
    index = joined.select(WELL_KEYS).join(groups, on=WELL_KEYS, how="left", maintain_order="left")["group"].to_numpy()
    if not groups.height:
        return with_vectors(wells.clear().with_columns(pl.lit(0, pl.Int32).alias("n_sites")), np.zeros((0, 1)))
    means = group_mean(vectors(joined), index.astype(np.int64), groups.height)
    check_finite(groups, means)
    n_sites = pl.Series("n_sites", np.bincount(index, minlength=groups.height), dtype=pl.Int32)
    averaged = groups.drop("group").join(wells, on=WELL_KEYS, how="left", maintain_order="left").with_columns(n_sites)
    return with_vectors(averaged, means)


def check_finite(wells: pl.DataFrame, embeddings: np.ndarray) -> None:
    """Returns nothing if all vectors are finite.

    Raises:
        AlignmentError: some are not; the message names the first such well.
    """
    rows = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(rows):
        well = wells.row(int(rows[0]), named=True)
        message = (
            f"experiment {well['experiment_id']}, plate {well['plate_id']}, well {well['well_id']}: its embedding has "
            f"values that are not finite ({len(rows)} such wells); correct the encoder or leave the well out"
        )
        raise AlignmentError(message)


def filter_wells(
    sites: pl.DataFrame, quality: pl.DataFrame, wells: pl.DataFrame, *, limits: QualityLimits = NO_LIMITS
) -> FilteredWells:
    """Returns one experiment's wells after the quality filter.

    Args:
        sites: SITE_EMBEDDINGS of the experiment.
        quality: QUALITY of the experiment.
        wells: the wells of the experiment that are in the dataset, as WELLS rows with batch_id.
        limits: the sites that count, and how many of them a well needs.
    """
    in_dataset = sites.join(wells.select(WELL_KEYS), on=WELL_KEYS, how="semi", maintain_order="left")
    kept = filter_sites(in_dataset, quality, limits)
    averaged = average_sites(kept, wells).filter(pl.col("n_sites") >= limits.min_sites_per_well)
    return FilteredWells(
        wells=WELL_EMBEDDINGS.conform(averaged, source="filtered wells"),
        n_sites_flagged=in_dataset.height - kept.height,
        n_wells_dropped=wells.height - averaged.height,
    )
