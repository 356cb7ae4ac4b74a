"""Quality of an experiment: every stored site measured, compared with its plate, and shown in pictures.

`inspect_store` is pure science: a store in, a table, pictures and numbers out. `inspect_experiment` is the stage
`plate_quality`: it reads `plate_store` and publishes `quality.parquet` and, per plate, heat maps and a contact sheet.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from jaxtyping import UInt8

from cellassets.errors import ConfigError
from cellassets.images.reader import ExperimentStore
from cellassets.machine import n_cores
from cellassets.progress import Progress, no_progress
from cellassets.quality.composite import channel_limits, composite
from cellassets.quality.measures import flag_sites, measure_site, quality_row
from cellassets.quality.parameters import QualityParameters
from cellassets.quality.pictures import contact_sheet, heat_maps, plate_grid
from cellassets.quality.summary import PlateQualitySummary
from cellassets.tables.schemas import QUALITY

BLOCK_SITES = 32
N_SITES_FOR_LIMITS = 48
THUMBNAIL_PX = 96
SHOWN = {
    "focus": "focus: slope of the power spectrum",
    "saturation_frac": "fraction of saturated pixels",
    "background": "background in grey levels",
    "illumination": "uneven illumination (CV)",
    "n_nuclei": "nuclei per site",
    "is_flagged": "fraction of flagged sites",
}


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
        ConfigError: the images have no such nucleus channel.
    """
    measures = _measures(store, parameters, _nucleus_channel(store, parameters), progress)
    quality = QUALITY.conform(flag_sites(measures, parameters), source=store.experiment_id)
    return Inspected(quality, dict(_pictures(store, quality)), _summary(quality))


def _nucleus_channel(store: ExperimentStore, parameters: QualityParameters) -> int:
    named = parameters.nucleus_channel
    found = store.imaging.dna_index if named is None else named
    if found is None:
        message = (
            f"experiment {store.experiment_id}: none of its channels {', '.join(store.channel_names)} is named after a "
            "DNA stain, such as Hoechst, DAPI or DNA; set nucleus_channel of the quality settings in policy.yaml, "
            "counted from 0"
        )
        raise ConfigError(message)
    if found >= store.n_channels:
        message = (
            f"experiment {store.experiment_id} has {store.n_channels} channels, nucleus_channel is {found}; channels "
            "are counted from 0"
        )
        raise ConfigError(message)
    return found


def _measures(
    store: ExperimentStore, parameters: QualityParameters, nucleus_channel: int, progress: Progress
) -> pl.DataFrame:
    rows = []
    measure = partial(measure_site, parameters=parameters, nucleus_channel=nucleus_channel)
    with ThreadPoolExecutor(n_cores()) as pool:
        for indices, images in store.blocks(BLOCK_SITES):
            rows += [quality_row(site) for site in pool.map(measure, images)]
            progress(int(indices[-1]) + 1, store.n_sites, "sites inspected")
    measures = pl.DataFrame(rows).with_columns(pl.col("n_nuclei").cast(pl.Int32))
    measures = measures.with_columns(pl.exclude("n_nuclei").cast(pl.Float32))
    return pl.concat([store.sites.drop("row_index", "channel_mean", "channel_std"), measures], how="horizontal")


def _pictures(store: ExperimentStore, quality: pl.DataFrame) -> Iterator[tuple[str, bytes]]:
    """Yields file name and content of a heat map sheet and a contact sheet per plate."""
    wells = quality.group_by("plate_id", "well_id", maintain_order=True).agg(
        pl.col(name).cast(pl.Float64).mean() for name in SHOWN
    )
    for (plate_id,), rows in wells.group_by("plate_id", maintain_order=True):
        grid = plate_grid(rows["well_id"].to_list())
        yield f"heatmap_{plate_id}.png", heat_maps(grid, {SHOWN[name]: rows[name].to_numpy() for name in SHOWN})
        pictures = _thumbnails(store, str(plate_id))
        marked = (rows["is_flagged"] > 0).to_list()
        yield f"contact_{plate_id}.jpg", contact_sheet(grid, pictures, marked=marked)


def _thumbnails(store: ExperimentStore, plate_id: str) -> list[UInt8[np.ndarray, "y x 3"]]:
    """Returns a small composite of the first site of each well, all with the same display limits."""
    places = store.sites.with_row_index("index").filter(pl.col("plate_id") == plate_id)
    indices = places.group_by("well_id", maintain_order=True).first()["index"].to_numpy()
    step = max(1, len(indices) // N_SITES_FOR_LIMITS)
    limits = channel_limits(store.read(indices[::step]))
    shrink = max(1, min(store.height, store.width) // THUMBNAIL_PX)
    return [
        composite(site[:, ::shrink, ::shrink], limits)
        for _, block in store.blocks(BLOCK_SITES, indices=indices)
        for site in block
    ]


def _summary(quality: pl.DataFrame) -> PlateQualitySummary:
    reasons = quality["flag_reason"].drop_nulls().str.split(";").explode().value_counts().sort("flag_reason")
    return PlateQualitySummary(
        n_sites=quality.height,
        n_flagged=int(quality["is_flagged"].sum()),
        flag_reasons=dict(reasons.iter_rows()),
        nuclei_per_site=float(quality["n_nuclei"].mean()),  # type: ignore[arg-type]
    )
