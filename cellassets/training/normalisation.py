"""Normalisation of grey levels: channel statistics of a site or of its plate, as a scale and a shift.

Input: the SITES table of a store. Output: arrays aligned with its rows. No image is read here.
"""

import numpy as np
import polars as pl
from jaxtyping import Float

from cellassets.tables.parquet import vectors
from cellassets.training.recipe import NormalisationKind

MIN_STD_GREY_LEVELS = 1.0  # a dead channel has a standard deviation of 0, and its noise must not become infinite


def channel_statistics(
    sites: pl.DataFrame, kind: NormalisationKind
) -> tuple[Float[np.ndarray, "site channel"], Float[np.ndarray, "site channel"]]:
    """Returns the mean and standard deviation, in grey levels, by which each channel of each site is normalised.

    For `plate` the moments of all sites of the plate are pooled: mean = E[m], variance = E[s^2 + m^2] - E[m]^2 (law of
    total variance; all sites have the same number of pixels).

    Args:
        sites: SITES rows (any number of experiments and plates).
        kind: `site` or `plate`: the statistics of the site itself or of its plate.
    """
    mean, std = vectors(sites, "channel_mean"), vectors(sites, "channel_std")
    if kind == "site":
        return mean, std
    group = (
        sites.select(pl.struct("experiment_id", "plate_id").rank("dense")).to_series().to_numpy().astype(np.int64) - 1
    )
    n_sites = np.bincount(group)[:, None]
    first, second = (_sum_by(group, moment) / n_sites for moment in (mean, std**2 + mean**2))
    spread = np.sqrt(np.maximum(second - first**2, 0))
    return first[group].astype(np.float32), spread[group].astype(np.float32)


def scale_and_shift(
    mean: Float[np.ndarray, "site channel"], std: Float[np.ndarray, "site channel"]
) -> tuple[Float[np.ndarray, "site channel"], Float[np.ndarray, "site channel"]]:
    """Returns a, b such that (x - mean) / max(std, 1 grey level) = a x + b."""
    scale = 1 / np.maximum(std, np.float32(MIN_STD_GREY_LEVELS))
    return scale, -mean * scale


def _sum_by(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    total = np.zeros((int(group.max()) + 1, values.shape[1]))
    np.add.at(total, group, values)
    return total
