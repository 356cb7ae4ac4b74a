"""Export of a plate, a well or a site of a store as OME-Zarr 0.5 with image pyramids.

A site becomes an image, a well becomes a group of images, and a plate becomes a group of wells. Sites are read, reduced
and written by threads, a few at a time, so that memory does not grow with the plate. What a place is called in the
store is decided in `selection`, what viewers see in `display` and `ome_metadata`.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from jaxtyping import UInt

from cellassets.exporting.display import ChannelDisplay, channel_displays
from cellassets.exporting.ome_metadata import AXES, image_metadata, plate_metadata, well_metadata, well_path
from cellassets.exporting.pyramid import pyramid
from cellassets.exporting.selection import STORE_INDEX, Place, selected_sites
from cellassets.exporting.target import complete_or_absent
from cellassets.images.pipeline import in_order
from cellassets.images.reader import ExperimentStore
from cellassets.machine import n_cores
from cellassets.progress import Progress, no_progress
from cellassets.screens.well import infer_geometry, well_place
from cellassets.tables.schemas import PERTURBATION_COLUMNS

if TYPE_CHECKING:
    import zarr

CHUNK_SIDE = 1024  # longest side of a chunk, in pixels
WELL_COLUMNS = ("cell_type", *(column.name for column in PERTURBATION_COLUMNS))


@dataclass(frozen=True)
class ExportedImages:
    """What an export holds: numbers of wells, sites, files and bytes."""

    n_wells: int
    n_sites: int
    n_files: int
    n_bytes: int


def export_ome_zarr(
    store: ExperimentStore,
    place: Place,
    target: Path,
    *,
    source: Mapping[str, Any],
    progress: Progress = no_progress,
) -> ExportedImages:
    """Returns what was written, after writing a plate, a well or a site to a folder that did not exist.

    Args:
        store: the packed experiment.
        place: the plate, the well or the site.
        target: the new folder; it appears when it is complete.
        source: where the images come from, such as the fingerprint of the store; kept in the root's attributes.
        progress: receives the number of sites written.

    Raises:
        ExportError: the store has no such place, or something appeared at `target` meanwhile.
        CorruptArtifact: a shard of the store is damaged.
    """
    sites = selected_sites(store, place)
    plate_sites = selected_sites(store, Place(place.plate_id))[STORE_INDEX].to_list()
    with complete_or_absent(target) as folder:
        export = _Export(store, place, channel_displays(store, plate_sites), source, folder)
        export.write(sites, progress)
        files = [path for path in folder.rglob("*") if path.is_file()]
        n_bytes = sum(path.stat().st_size for path in files)
    return ExportedImages(sites["well_id"].n_unique(), sites.height, len(files), n_bytes)


@dataclass(frozen=True)
class _Export:
    """One export that is being written."""

    store: ExperimentStore
    place: Place
    channels: list[ChannelDisplay]
    source: Mapping[str, Any]
    folder: Path

    def write(self, sites: pl.DataFrame, progress: Progress) -> None:
        """Writes groups and images of the selected sites."""
        paths = self._write_groups(sites)
        n_threads = n_cores()
        with ThreadPoolExecutor(n_threads) as pool:
            work = in_order(
                pool, self._write_site, list(zip(paths, sites.iter_rows(named=True), strict=True)), n_ahead=n_threads
            )
            for n_done, _ in enumerate(work, start=1):
                progress(n_done, sites.height, "sites exported")

    def _write_groups(self, sites: pl.DataFrame) -> list[str]:
        """Returns the path of every image, after writing the groups above the images."""
        if self.place.site_index is not None:
            return [""]
        by_well = {
            well_id: rows["site_index"].to_list() for (well_id,), rows in sites.group_by("well_id", maintain_order=True)
        }
        if self.place.well_id is not None:
            ((well_id, numbers),) = by_well.items()
            self._write_group("", well_metadata(numbers), self._about_well(well_id))
            return [str(number) for number in numbers]
        self._write_group("", self._plate_metadata(by_well), {})
        for row in dict.fromkeys(well_path(well_id).split("/")[0] for well_id in by_well):
            self._write_group(row, None, {})
        for well_id, numbers in by_well.items():
            self._write_group(well_path(well_id), well_metadata(numbers), self._about_well(well_id))
        return [f"{well_path(well_id)}/{number}" for well_id, numbers in by_well.items() for number in numbers]

    def _plate_metadata(self, by_well: Mapping[str, list[int]]) -> dict[str, Any]:
        on_plate = self.store.wells.filter(pl.col("plate_id") == self.place.plate_id)["well_id"].to_list()
        return plate_metadata(
            f"{self.store.experiment_id} {self.place.plate_id}",
            geometry=_geometry([*on_plate, *by_well]),
            well_ids=list(by_well),
            most_fields=max(len(numbers) for numbers in by_well.values()),
        )

    def _write_site(self, item: tuple[str, dict[str, Any]]) -> None:
        """Writes one image with all levels of its pyramid."""
        path, site = item
        levels = pyramid(self.store.read([site[STORE_INDEX]])[0])
        name = f"{self.store.experiment_id} {site['plate_id']} {site['well_id']} site {site['site_index']}"
        metadata = image_metadata(
            name,
            n_levels=len(levels),
            pixel_size_um=self.store.imaging.pixel_size_um,
            channels=self.channels,
        )
        group = self._write_group(path, metadata, {key: site[key] for key in ("plate_id", "well_id", "site_index")})
        for level, images in enumerate(levels):
            _write_level(group, str(level), images)

    def _write_group(self, path: str, metadata: dict[str, Any] | None, about: Mapping[str, Any]) -> "zarr.Group":
        import zarr

        own = {"experiment_id": self.store.experiment_id, **about, **({} if path else self.source)}
        attributes = {"cellassets": own} if metadata is None else {"ome": metadata, "cellassets": own}
        return zarr.create_group(str(self.folder / path), zarr_format=3, attributes=attributes)

    def _about_well(self, well_id: str) -> dict[str, Any]:
        """Returns what was done to a well."""
        is_well = (pl.col("plate_id") == self.place.plate_id) & (pl.col("well_id") == well_id)
        rows = self.store.wells.filter(is_well).select(WELL_COLUMNS).to_dicts()
        return {"plate_id": self.place.plate_id, "well_id": well_id, **(rows[0] if rows else {})}


def _geometry(well_ids: list[str]) -> tuple[int, int]:
    """Returns rows and columns of a standard plate, or more where a well is outside the largest one."""
    places = [infer_geometry(well_ids), *((row + 1, column + 1) for row, column in map(well_place, well_ids))]
    return max(rows for rows, _ in places), max(columns for _, columns in places)


def _write_level(group: "zarr.Group", name: str, images: UInt[np.ndarray, "channel y x"]) -> None:
    """Writes one level as one file: a shard, in which each channel is cut into chunks of its own."""
    from zarr.codecs import BloscCodec

    chunk = (1, *(min(side, CHUNK_SIDE) for side in images.shape[1:]))
    array = group.create_array(
        name,
        shape=images.shape,
        dtype=images.dtype,
        chunks=chunk,
        shards=tuple(-(-side // part) * part for side, part in zip(images.shape, chunk, strict=True)),
        compressors=BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle"),
        dimension_names=AXES,
    )
    array[:] = images
