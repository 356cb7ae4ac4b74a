"""Looks at a landed experiment before it is ingested: what is in it, what is wrong with it, what ingesting it costs.

Names and tables are read whole, images only of some sites. Nothing is written.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
from upath import UPath

from cellassets.images.plates import source_plates
from cellassets.images.store_spec import StoreSpec
from cellassets.images.writer import pack_sites
from cellassets.machine import n_cores
from cellassets.progress import Progress, no_progress
from cellassets.screens.imaging import Imaging
from cellassets.screens.manifest import Manifest, build_manifest
from cellassets.screens.policy import IngestPolicy

N_SITES_READ = 24
N_SITES_PACKED = 6
CONTROLS = ("negative", "positive", "untreated")


@dataclass(frozen=True)
class PlateSurvey:
    """What one plate holds, by the metadata: wells, controls, perturbations, and replicates of a perturbation."""

    plate_id: str
    n_wells: int
    n_sites: int
    n_negative: int
    n_positive: int
    n_untreated: int
    n_perturbations: int
    n_replicates_median: float


@dataclass(frozen=True)
class Survey:
    """What an experiment holds, and what ingesting it costs.

    Attributes:
        experiment_id: the experiment.
        layout_name: the layout that it is read by.
        imaging: its channels, pixel size and highest grey level.
        size_px: height and width of most images that were read.
        dtype: numpy type of these.
        n_sites: sites that the metadata name.
        n_files: images of these.
        n_files_read: images that were read.
        plates: one entry per plate.
        findings: FINDINGS table of what is wrong.
        source_bytes: size of all images, from those that were read.
        store_bytes: size of the store, from a few sites that were packed.
        minutes: duration of check and packing on this machine, from the same sites.
    """

    experiment_id: str
    layout_name: str
    imaging: Imaging
    size_px: tuple[int, int]
    dtype: str
    n_sites: int
    n_files: int
    n_files_read: int
    plates: tuple[PlateSurvey, ...]
    findings: pl.DataFrame
    source_bytes: int
    store_bytes: int
    minutes: float


def survey_experiment(
    landing: UPath,
    experiment_id: str,
    *,
    policy: IngestPolicy,
    n_sites_read: int | None = N_SITES_READ,
    progress: Progress = no_progress,
) -> Survey:
    """Returns what a landed experiment holds.

    Args:
        landing: folder or URL that contains the experiment's folder.
        experiment_id: name of the experiment's folder.
        policy: requirements on images and wells.
        n_sites_read: sites whose images are read; None for all.
        progress: receives the number of images read.

    Raises:
        LayoutError: no layout fits the folder, or its metadata cannot be read.
        ConfigError: `experiment.yaml` is not valid.
    """
    started = time.perf_counter()
    manifest = build_manifest(landing, experiment_id, policy=policy, n_sites_read=n_sites_read, progress=progress)
    seconds_per_image = (time.perf_counter() - started) / max(manifest.images.height, 1)
    usable = manifest.images.filter("is_usable")
    site_bytes, site_seconds = _pack_some(landing / experiment_id, usable, manifest.imaging)
    height, width, dtype = usable.select("height", "width", "dtype").row(0) if usable.height else (0, 0, "unreadable")
    seconds = manifest.n_files * seconds_per_image + manifest.n_sites * site_seconds / n_cores()
    mean_bytes = manifest.images["n_bytes"].mean()
    return Survey(
        experiment_id=experiment_id,
        layout_name=manifest.layout_name,
        imaging=manifest.imaging,
        size_px=(height, width),
        dtype=dtype,
        n_sites=manifest.n_sites,
        n_files=manifest.n_files,
        n_files_read=manifest.images.height,
        plates=tuple(_plates(manifest)),
        findings=manifest.findings,
        source_bytes=round(float(mean_bytes or 0) * manifest.n_files),  # type: ignore[arg-type]
        store_bytes=round(site_bytes * manifest.n_sites),
        minutes=seconds / 60,
    )


def _pack_some(folder: UPath, images: pl.DataFrame, imaging: Imaging) -> tuple[float, float]:
    """Returns the mean size of a packed site in bytes, and the seconds that one thread takes for it."""
    if images.is_empty():
        return 0.0, 0.0
    plate = next(source_plates(images, StoreSpec()))
    sites = plate.sites[:N_SITES_PACKED]
    started = time.perf_counter()
    sizes = [len(site.content) for site in pack_sites(folder, sites, plate.spec, StoreSpec().blosc_level, imaging)]
    return sum(sizes) / len(sizes), (time.perf_counter() - started) / len(sizes)


def _plates(manifest: Manifest) -> Iterator[PlateSurvey]:
    n_sites = dict(manifest.sites.group_by("plate_id").len().rows())
    for (plate_id,), wells in manifest.wells.group_by("plate_id", maintain_order=True):
        kinds = dict(wells["control_kind"].drop_nulls().value_counts().rows())
        treated = wells.filter(pl.col("control_kind").is_null())["perturbation_id"].value_counts()
        yield PlateSurvey(
            plate_id=str(plate_id),
            n_wells=wells.height,
            n_sites=n_sites.get(plate_id, 0),
            n_negative=kinds.get("negative", 0),
            n_positive=kinds.get("positive", 0),
            n_untreated=kinds.get("untreated", 0),
            n_perturbations=treated.height,
            n_replicates_median=float(treated["count"].median() or 0),  # type: ignore[arg-type]
        )
