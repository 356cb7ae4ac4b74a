"""Packing: the usable sites of an experiment written to one Zarr array per plate, shard by shard.

Tables and folders in, files and numbers out: the arrays, `sites.parquet`, `wells.parquet` and `store.json`. A run that
was interrupted continues at the first unfinished shard. What is read and published is the business of
`cellassets.stages.plate_store`.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import polars as pl
from upath import UPath

from cellassets.images.pipeline import in_order
from cellassets.images.plates import SourcePlate, sites_table, source_plates, store_json
from cellassets.images.spec import zarr_metadata
from cellassets.images.store_spec import StoreSpec
from cellassets.images.summary import PlateStoreSummary
from cellassets.images.writer import ShardNote, find_shard, pack_sites, write_shard
from cellassets.machine import n_cores
from cellassets.progress import Progress, no_progress
from cellassets.screens.imaging import Imaging
from cellassets.storage.artifact import FileEntry, describe_file, write_bytes
from cellassets.tables.parquet import write_table
from cellassets.tables.schemas import SITES, WELLS

THREADS_PER_CORE = 2  # some threads always wait for a disk or a bucket


@dataclass(frozen=True)
class Packing:
    """From where, to where and how sites are packed.

    Attributes:
        source: landing folder of the experiment.
        target: folder that the store is written to.
        imaging: how the images were taken; it is kept in the store.
        spec: sites per shard and compression level.
        n_threads: threads that read, decode, compress and write; None for two per core.
    """

    source: UPath
    target: UPath
    imaging: Imaging
    spec: StoreSpec = field(default_factory=StoreSpec)
    n_threads: int | None = None

    def shard(self, plate: SourcePlate, shard: int) -> tuple[ShardNote, bool]:
        """Returns the note of a shard, and whether an earlier run had packed it."""
        note = find_shard(self.target, plate.spec, shard)
        if note is not None:
            return note, True
        start = shard * plate.spec.shard_sites
        sites = plate.sites[start : start + plate.spec.shard_sites]
        packed = pack_sites(self.source, sites, plate.spec, self.spec.blosc_level, self.imaging)
        return write_shard(self.target, plate.spec, shard, sites=packed), False


@dataclass(frozen=True)
class Packed:
    """A packed experiment: every file below the target folder, and its summary."""

    files: tuple[FileEntry, ...]
    summary: PlateStoreSummary


def pack_plates(
    images: pl.DataFrame, wells: pl.DataFrame, packing: Packing, *, progress: Progress = no_progress
) -> Packed:
    """Returns the files of an experiment's store, after packing the shards that are not in the target folder yet.

    Args:
        images: IMAGES table of one experiment; only usable images are packed.
        wells: WELLS table of the experiment, copied to the store.
        packing: source and target folders, and how sites are packed.
        progress: receives the number of sites packed.

    Raises:
        ImageError: an image is not the file that the manifest describes.
    """
    usable = images.filter("is_usable")
    experiment_id = str(usable["experiment_id"][0])
    plates = list(source_plates(usable, packing.spec))
    notes, n_resumed = _pack_shards(packing, plates, progress)
    shards = [note.file for plate in plates for note in notes[plate.spec.plate_id]]
    tables = [sites_table(experiment_id, plate.spec, notes[plate.spec.plate_id]) for plate in plates]
    written = [_describe_array(packing, plate, experiment_id) for plate in plates]
    write_table(pl.concat(tables), packing.target / "sites.parquet", SITES)
    write_table(wells, packing.target / "wells.parquet", WELLS)
    write_bytes(packing.target / "store.json", store_json([plate.spec for plate in plates], packing.imaging))
    names = ("sites.parquet", "wells.parquet", "store.json", *written)
    first = plates[0].spec
    summary = PlateStoreSummary(
        n_sites=sum(table.height for table in tables),
        n_plates=len(plates),
        n_shards_resumed=n_resumed,
        n_bytes=sum(entry.n_bytes for entry in shards),
        source_bytes=int(usable["n_bytes"].sum()),
        channel_names=packing.imaging.channel_names,
        height=first.height,
        width=first.width,
        dtype=first.dtype,
    )
    return Packed((*shards, *(describe_file(packing.target / name, name) for name in names)), summary)


def _pack_shards(
    packing: Packing, plates: Sequence[SourcePlate], progress: Progress
) -> tuple[dict[str, list[ShardNote]], int]:
    """Returns the notes of every plate's shards, and how many of them an earlier run had packed.

    A thread packs one shard at a time, one site after the other, so memory holds one site per thread.
    """
    n_threads = packing.n_threads or THREADS_PER_CORE * n_cores()
    shards = [(plate, shard) for plate in plates for shard in range(plate.spec.n_shards)]
    notes: dict[str, list[ShardNote]] = {plate.spec.plate_id: [] for plate in plates}
    n_total, n_done, n_resumed = sum(plate.spec.n_sites for plate in plates), 0, 0
    with ThreadPoolExecutor(n_threads) as pool:
        packed = in_order(pool, lambda place: packing.shard(*place), shards, n_ahead=n_threads)
        for (plate, _), (note, is_resumed) in packed:
            notes[plate.spec.plate_id].append(note)
            n_done += len(note.sites)
            n_resumed += is_resumed
            progress(n_done, n_total, "sites packed")
    return notes, n_resumed


def _describe_array(packing: Packing, plate: SourcePlate, experiment_id: str) -> str:
    """Writes a plate's `zarr.json` and returns its name below the target folder."""
    name = f"{plate.spec.plate_id}.zarr/zarr.json"
    attributes = {"experiment_id": experiment_id, "plate_id": plate.spec.plate_id}
    write_bytes(packing.target / name, zarr_metadata(plate.spec, packing.spec.blosc_level, attributes))
    return name
