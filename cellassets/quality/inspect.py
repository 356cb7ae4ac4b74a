"""Quality of an experiment: every stored site measured, compared with its plate, and shown in pictures.

`inspect_store` is pure science: a store in, a table, pictures and numbers out. The stage `plate_quality` reads
`plate_store` and publishes `quality.parquet` and, per plate, heat maps and a contact sheet.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from cellassets.errors import ConfigError
from cellassets.images.reader import ExperimentStore
from cellassets.machine import n_cores
from cellassets.progress import Progress, no_progress
from cellassets.quality.grey_scale import GreyScale
from cellassets.quality.measures import flag_sites, measure_site, quality_row
from cellassets.quality.nucleus_size import NucleusSize, nucleus_size
from cellassets.quality.parameters import QualityParameters
from cellassets.quality.plates import plate_pictures
from cellassets.quality.summary import PlateQualitySummary
from cellassets.tables.schemas import QUALITY

# 3 blocks are held at once (one is measured, one waits, one is read), and about as much again is needed to measure
BLOCK_BYTES = 96 << 20


@dataclass(frozen=True)
class Inspected:
    """Quality of an experiment: a QUALITY table, encoded pictures by file name, and the summary."""

    quality: pl.DataFrame
    pictures: Mapping[str, bytes]
    summary: PlateQualitySummary


def inspect_store(
    store: ExperimentStore, parameters: QualityParameters, *, progress: Progress = no_progress
) -> Inspected:
    """Returns the quality of every site of a store, with pictures of every plate.

    Args:
        store: the repacked images of one experiment.
        parameters: how sites are measured and when they are flagged.
        progress: receives the number of sites inspected.

    Raises:
        CorruptArtifact: a shard of the store is damaged.
        ConfigError: the images have no such nucleus channel, or the nucleus' size in micrometres cannot be right.
    """
    channel = nucleus_channel(store, parameters.nucleus_channel, settings="the quality settings in policy.yaml")
    size = nucleus_size(
        store, channel, diameter_um=parameters.nucleus_diameter_um, diameter_px=parameters.nucleus_diameter_px
    )
    scale = GreyScale.of(store.dtype, store.imaging.top_grey_level)
    measure = partial(measure_site, nucleus_channel=channel, nucleus_diameter_px=size.diameter_px, scale=scale)
    measures = _measures(store, measure, progress)
    quality = QUALITY.conform(flag_sites(measures, parameters, unit=scale.unit), source=store.experiment_id)
    return Inspected(quality, dict(plate_pictures(store, quality)), _summary(quality, size))


def nucleus_channel(store: ExperimentStore, declared: int | None, *, settings: str) -> int:
    """Returns the number, from 0, of the channel in which nuclei are found: the declared one, or by its name.

    Args:
        store: the repacked images of one experiment.
        declared: number of the channel, from 0; None: the channel with the DNA stain.
        settings: where `nucleus_channel` can be set, for the message.

    Raises:
        ConfigError: no channel is named after a DNA stain, or there are fewer channels.
    """
    found = store.imaging.dna_index if declared is None else declared
    if found is None:
        message = (
            f"experiment {store.experiment_id}: none of its channels {', '.join(store.channel_names)} is named after a "
            f"DNA stain, such as Hoechst, DAPI or DNA; set `is_dna: true` for one of its channels in "
            f"experiment.yaml, or nucleus_channel of {settings}, counted from 0"
        )
        raise ConfigError(message)
    if found >= store.n_channels:
        message = (
            f"experiment {store.experiment_id} has {store.n_channels} channels, nucleus_channel is {found}; channels "
            f"are counted from 0: correct nucleus_channel of {settings}"
        )
        raise ConfigError(message)
    return found


def _measures(store: ExperimentStore, measure: partial, progress: Progress) -> pl.DataFrame:
    rows = []
    site_bytes = store.n_channels * store.height * store.width * np.dtype(store.dtype).itemsize
    n_sites_per_block = max(1, BLOCK_BYTES // site_bytes)
    with ThreadPoolExecutor(n_cores()) as pool:
        for indices, images in store.blocks(n_sites_per_block, n_threads=1, n_ahead=1):
            rows += [quality_row(site) for site in pool.map(measure, images)]
            progress(int(indices[-1]) + 1, store.n_sites, "sites inspected")
    measures = pl.DataFrame(rows).with_columns(pl.col("n_nuclei").cast(pl.Int32))
    measures = measures.with_columns(pl.exclude("n_nuclei").cast(pl.Float32))
    return pl.concat([store.sites.drop("row_index", "channel_mean", "channel_std"), measures], how="horizontal")


def _summary(quality: pl.DataFrame, size: NucleusSize) -> PlateQualitySummary:
    reasons = quality["flag_reason"].drop_nulls().str.split(";").explode().value_counts().sort("flag_reason")
    return PlateQualitySummary(
        n_sites=quality.height,
        n_flagged=int(quality["is_flagged"].sum()),
        flag_reasons=dict(reasons.iter_rows()),
        nuclei_per_site=float(quality["n_nuclei"].mean()),  # type: ignore[arg-type]
        nucleus_diameter_px=size.diameter_px,
        nucleus_diameter_source=size.source,
    )
