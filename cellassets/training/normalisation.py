"""Normalisation of grey levels: channel statistics of a site or of its plate, as a scale and a shift.

Input: the SITES table of a store. Output: arrays aligned with its rows. No image is read here.

Normalised images do not depend on the scale of the grey levels: images of 8, 12 and 16 bits give the same numbers if
they show the same.
"""

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from cellassets.quality.grey_scale import EIGHT_BITS, GreyScale
from cellassets.tables.parquet import vectors
from cellassets.training.recipe import NormalisationKind

MIN_STD_8_BIT = 1.0  # a dead channel has a standard deviation of 0, and its noise must not become infinite


def min_std(dtype: str, top_grey_level: int | None) -> float:
    """Returns the smallest standard deviation that channels are divided by, in grey levels.

    It is one level of 8-bit images, and the 255th part of the scale of others: 16 levels for a camera of 12 bits. A
    scale ends at 1,023, 4,095, 16,383 or 65,535, at or above the highest level that occurs.

    Args:
        dtype: type of the pixels, a name of numpy.
        top_grey_level: the highest level of the camera or of the experiment's images; None: unknown.
    """
    return MIN_STD_8_BIT * GreyScale.of(dtype, top_grey_level).unit


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
    return pooled_moments(mean, std, group)


def pooled_moments(
    mean: Float[np.ndarray, "site channel"], std: Float[np.ndarray, "site channel"], group: Int[np.ndarray, "site"]
) -> tuple[Float[np.ndarray, "site channel"], Float[np.ndarray, "site channel"]]:
    """Returns for each site the mean and standard deviation of all pixels of its group, as float32.

    Args:
        mean: mean of each site.
        std: standard deviation of each site.
        group: number of the group of each site, from 0.
    """
    if mean.max() > EIGHT_BITS.white:  # float32 holds the squares of 8-bit levels, and not those of 16 bits
        mean, std = mean.astype(np.float64), std.astype(np.float64)
    n_sites = np.bincount(group)[:, None]
    first, second = (_sum_by(group, moment) / n_sites for moment in (mean, std**2 + mean**2))
    spread = np.sqrt(np.maximum(second - first**2, 0))
    return first[group].astype(np.float32), spread[group].astype(np.float32)


def scale_and_shift(
    mean: Float[np.ndarray, "site channel"], std: Float[np.ndarray, "site channel"], *, least: float = MIN_STD_8_BIT
) -> tuple[Float[np.ndarray, "site channel"], Float[np.ndarray, "site channel"]]:
    """Returns a, b such that (x - mean) / max(std, least) = a x + b. `least` is the `min_std` of the images."""
    scale = 1 / np.maximum(std, np.float32(least))
    return scale, -mean * scale


def _sum_by(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    total = np.zeros((int(group.max()) + 1, values.shape[1]))
    np.add.at(total, group, values)
    return total
