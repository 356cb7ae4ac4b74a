"""From sites to wells: flagged sites left out, the rest averaged.

Reads site embeddings and site quality of one experiment; hands on a row a well. Alignment comes after.
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
    """Wells that are left, as a WELL_EMBEDDINGS table, and what was left out."""

    wells: pl.DataFrame
    n_sites_flagged: int
    n_wells_dropped: int


def filter_sites(sites: pl.DataFrame, quality: pl.DataFrame, limits: QualityLimits = NO_LIMITS) -> pl.DataFrame:
    """Returns the site embeddings whose site is not flagged and within the dataset's limits.

    Args:
        sites: SITE_EMBEDDINGS of one experiment.
        quality: QUALITY of the same experiment.
        limits: of the dataset.

    Raises:
        AlignmentError: a site has an embedding and no row in the quality table.
    """
    is_out = pl.any_horizontal("is_flagged", *_beyond(limits)).alias("is_flagged")
    joined = sites.join(quality.select(*SITE_KEYS, is_out), on=SITE_KEYS, how="left", maintain_order="left")
    unknown = joined.filter(pl.col("is_flagged").is_null())
    if unknown.height:
        site = unknown.row(0, named=True)
        message = (
            f"experiment {site['experiment_id']}, plate {site['plate_id']}, well {site['well_id']}, site "
            f"{site['site_index']}: embedded and not in plate_quality ({unknown.height} such sites); materialise "
            "plate_quality of this experiment again"
        )
        raise AlignmentError(message)
    return joined.filter(~pl.col("is_flagged")).drop("is_flagged")


def _beyond(limits: QualityLimits) -> list[pl.Expr]:
    """What puts a site beyond each limit that is set."""
    rules = []
    if limits.min_focus is not None:
        rules.append(pl.col("focus") < limits.min_focus)
    if limits.max_saturation_frac is not None:
        rules.append(pl.col("saturation_frac") > limits.max_saturation_frac)
    if limits.min_nuclei is not None:
        rules.append(pl.col("n_nuclei") < limits.min_nuclei)
    return rules


def average_sites(sites: pl.DataFrame, wells: pl.DataFrame) -> pl.DataFrame:
    """Returns the wells that have a site, as WELL_EMBEDDINGS rows without batch_id, each the mean of its sites.

    Raises:
        AlignmentError: a well's vector is not finite.
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
    """Does nothing where all vectors are finite.

    Raises:
        AlignmentError: naming the first well with a value that is not.
    """
    rows = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(rows):
        well = wells.row(int(rows[0]), named=True)
        message = (
            f"experiment {well['experiment_id']}, plate {well['plate_id']}, well {well['well_id']}: its embedding has "
            f"values that are not finite ({len(rows)} such wells); mend the encoder or leave the well out"
        )
        raise AlignmentError(message)


def filter_wells(
    sites: pl.DataFrame, quality: pl.DataFrame, wells: pl.DataFrame, *, limits: QualityLimits = NO_LIMITS
) -> FilteredWells:
    """Returns one experiment's wells after the quality filter.

    Args:
        sites: SITE_EMBEDDINGS of the experiment.
        quality: QUALITY of the experiment.
        wells: the dataset's WELLS of the experiment, with batch_id.
        limits: which sites count, and wells with how many of them.
    """
    in_dataset = sites.join(wells.select(WELL_KEYS), on=WELL_KEYS, how="semi", maintain_order="left")
    kept = filter_sites(in_dataset, quality, limits)
    averaged = average_sites(kept, wells).filter(pl.col("n_sites") >= limits.min_sites_per_well)
    return FilteredWells(
        wells=WELL_EMBEDDINGS.conform(averaged, source="filtered wells"),
        n_sites_flagged=in_dataset.height - kept.height,
        n_wells_dropped=wells.height - averaged.height,
    )
