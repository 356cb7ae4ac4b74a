"""Quality measures of one site's images, and flags for sites that differ from the rest of their plate.

Pure functions of pixels and tables; `cellassets.quality.inspect` runs them over an experiment. Biology is not flagged:
a site with few cells is not flagged, a site without cells is.
"""

from dataclasses import asdict, dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Integer, UInt

from cellassets.quality.nuclei import find_nuclei, usual_diameter
from cellassets.quality.parameters import QualityParameters

N_SPECTRUM_BINS = 16
SPECTRUM_RANGE = (0.02, 0.4)
BACKGROUND_PERCENTILE = 5
N_TILES = 8
NORMAL_MAD = 1.4826


@dataclass(frozen=True)
class SiteQuality:
    """Measures of one site; the fields are columns of the QUALITY table."""

    focus: float
    saturation_frac: float
    background: float
    illumination: float
    n_nuclei: int


def measure_site(
    images: UInt[np.ndarray, "channel y x"], parameters: QualityParameters, *, nucleus_channel: int
) -> SiteQuality:
    """Returns the quality measures of one site."""
    nuclei = images[nucleus_channel]
    diameter = parameters.nucleus_diameter_px or usual_diameter(nuclei)
    top = np.iinfo(images.dtype).max
    pixels = images.reshape(len(images), -1)
    return SiteQuality(
        focus=power_slope(nuclei),
        saturation_frac=float((pixels == top).mean(axis=1).max()),
        background=float(np.percentile(pixels, BACKGROUND_PERCENTILE, axis=1).mean()),
        illumination=float(np.mean([illumination_cv(image) for image in images])),
        n_nuclei=len(find_nuclei(nuclei, diameter).centres),
    )


def power_slope(image: UInt[np.ndarray, "y x"]) -> float:
    """Returns the slope of log power over log frequency; lower values mean a blurrier image.

    The mean is subtracted and a Hann window is applied. Power is averaged over rings of equal width in log frequency
    between 0.02 and 0.4 cycles per pixel. An image without contrast gives -10.

    Source: Field and Brady (1997), Vision Research 37:3367; for microscopy Bray et al. (2012), J Biomol Screen 17:266.
    """
    pixels = image.astype(np.float32)
    pixels -= pixels.mean()
    height, width = pixels.shape
    pixels *= np.hanning(height)[:, None].astype(np.float32) * np.hanning(width)[None].astype(np.float32)
    power = np.abs(np.fft.rfft2(pixels)) ** 2
    ring, centres = _rings(height, width)
    totals = np.bincount(ring.ravel(), power.ravel(), minlength=N_SPECTRUM_BINS + 1)[:N_SPECTRUM_BINS]
    counts = np.bincount(ring.ravel(), minlength=N_SPECTRUM_BINS + 1)[:N_SPECTRUM_BINS]
    is_used = (counts > 0) & (totals > 0)
    if is_used.sum() < 3:
        return -10.0
    slope = np.polyfit(centres[is_used], np.log(totals[is_used] / counts[is_used]), 1)[0]
    return float(slope)


def illumination_cv(image: UInt[np.ndarray, "y x"]) -> float:
    """Returns the coefficient of variation of the background, which is the 20th percentile in each of 8 x 8 tiles."""
    height, width = (side - side % N_TILES for side in image.shape)
    tiles = image[:height, :width].reshape(N_TILES, height // N_TILES, N_TILES, width // N_TILES)
    field = np.percentile(tiles.transpose(0, 2, 1, 3).reshape(N_TILES, N_TILES, -1), 20, axis=2)
    return float(field.std() / max(field.mean(), 1.0))


def flag_sites(measures: pl.DataFrame, parameters: QualityParameters) -> pl.DataFrame:
    """Returns the table with the columns `is_flagged` and `flag_reason`; sites are compared within their plate.

    Focus, saturation, background and illumination are judged by their robust z: the distance from the plate's median
    divided by 1.4826 times the median absolute deviation. Saturation and cell number also have absolute limits, since
    they can affect a whole plate.

    Args:
        measures: one row per site with `plate_id` and the measures of `SiteQuality`.
        parameters: limits.
    """
    judged = {name: pl.col(name) for name in parameters.min_scale} | {"background": pl.col("background").log1p()}
    z = {name: _robust_z(value, parameters.min_scale[name]) for name, value in judged.items()}
    limit = parameters.max_robust_z
    reasons = {
        "out of focus": z["focus"] < -limit,
        "saturated": (z["saturation_frac"] > limit) | (pl.col("saturation_frac") > parameters.max_saturation_frac),
        "background": z["background"].abs() > limit,
        "uneven illumination": z["illumination"] > limit,
        "no cells": pl.col("n_nuclei") < parameters.min_nuclei,
    }
    named = pl.concat_str(
        [pl.when(is_bad).then(pl.lit(name)) for name, is_bad in reasons.items()], separator=";", ignore_nulls=True
    )
    flagged = measures.with_columns(named.alias("flag_reason"))
    return flagged.with_columns(
        (pl.col("flag_reason") != "").alias("is_flagged"),
        pl.when(pl.col("flag_reason") == "").then(None).otherwise("flag_reason").alias("flag_reason"),
    )


def quality_row(site: SiteQuality) -> dict[str, float | int]:
    """Returns the measures of a site by column name."""
    return asdict(site)


def _robust_z(value: pl.Expr, min_scale: float) -> pl.Expr:
    centre = value.median().over("plate_id")
    spread = NORMAL_MAD * (value - centre).abs().median().over("plate_id")
    return (value - centre) / pl.max_horizontal(spread, pl.lit(min_scale))


def _rings(height: int, width: int) -> tuple[Integer[np.ndarray, "y half_x"], Float[np.ndarray, "ring"]]:
    """Returns the ring of every frequency, and the log frequency of each ring's centre; the last ring is not used."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    edges = np.geomspace(*SPECTRUM_RANGE, N_SPECTRUM_BINS + 1)
    ring = np.searchsorted(edges, frequency, side="right") - 1
    ring[(ring < 0) | (ring >= N_SPECTRUM_BINS)] = N_SPECTRUM_BINS
    return ring, (np.log(edges[1:]) + np.log(edges[:-1])) / 2
