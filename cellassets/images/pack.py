"""The stage `plate_store`: an experiment's usable sites repacked, plate by plate, shard by shard.

Reads the manifest of `raw_plates` and the images in the landing zone; publishes a Zarr array a plate, `sites.parquet`,
`wells.parquet` and `store.json`. A run that was cut off starts again at the first unfinished shard.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count

import polars as pl
from upath import UPath

from cellassets.errors import StaleArtifact
from cellassets.images.pipeline import in_order
from cellassets.images.spec import PlateSpec, StoreSpec, zarr_metadata
from cellassets.images.writer import (
    ShardNote,
    SourceImage,
    SourceSite,
    find_shard,
    pack_sites,
    write_shard,
)
from cellassets.progress import Progress, no_progress
from cellassets.screens.landing import signature_of
from cellassets.storage.artifact import FileEntry, Plan, Record, write_bytes
from cellassets.storage.lake import Lake
from cellassets.tables.parquet import read_table, with_vectors, write_table
from cellassets.tables.schemas import IMAGES, SITES, WELLS

CODE_VERSION = "1"
THREADS_PER_CORE = 2  # some always wait for a disk or a bucket


@dataclass(frozen=True)
class _Plate:
    spec: PlateSpec
    sites: tuple[SourceSite, ...]


def plan_store(lake: Lake, experiment_id: str, *, spec: StoreSpec) -> Plan:
    """Returns what the store would be made from now.

    Raises:
        ArtifactMissing: the experiment has no manifest.
    """
    manifest = lake.raw_plates(experiment_id).record()
    inputs = {"raw_plates": manifest.fingerprint, "spec": spec.model_dump(mode="json"), "code_version": CODE_VERSION}
    return Plan("plate_store", inputs)


def pack_experiment(
    lake: Lake,
    experiment_id: str,
    *,
    landing: UPath,
    spec: StoreSpec | None = None,
    n_threads: int | None = None,
    progress: Progress = no_progress,
) -> Record:
    """Returns the record of an experiment's store, after packing what is not packed yet.

    Args:
        lake: where the manifest is and the store goes.
        experiment_id: the experiment.
        landing: folder or URL that holds its folder.
        spec: how sites are packed.
        n_threads: threads that read, decode, compress and write; two a core by default.
        progress: told how many sites are packed.

    Raises:
        ArtifactMissing: the experiment has no manifest.
        StaleArtifact: its folder changed since the manifest was made.
        ImageError: an image is not the one that was checked.
    """
    spec = spec or StoreSpec()
    artifact = lake.plate_store(experiment_id)
    plan = plan_store(lake, experiment_id, spec=spec)
    if artifact.is_done(plan):
        return artifact.record()
    _refuse_changed_folder(lake, landing, experiment_id)
    images, wells = _manifest(lake, experiment_id)
    plates = list(_plates(images, spec))
    folder = artifact.folder(plan.fingerprint)
    packing = _Packing(landing / experiment_id, folder, spec)
    notes, n_resumed = _pack_shards(packing, plates, n_threads or THREADS_PER_CORE * (cpu_count() or 1), progress)
    entries: list[FileEntry | str] = ["sites.parquet", "wells.parquet", "store.json"]
    tables = []
    for plate in plates:
        plate_notes = notes[plate.spec.plate_id]
        entries += [note.file for note in plate_notes]
        entries.append(_describe_array(folder, plate.spec, spec, experiment_id))
        tables.append(_sites_table(experiment_id, plate.spec, plate_notes))
    write_table(pl.concat(tables), folder / "sites.parquet", SITES)
    write_table(wells, folder / "wells.parquet", WELLS)
    names = _channel_names(images)
    write_bytes(folder / "store.json", _store_json(plates, names))
    return artifact.publish(plan, entries, _summary(plates, entries, images, names, n_resumed))


@dataclass(frozen=True)
class _Packing:
    source: UPath
    folder: UPath
    spec: StoreSpec

    def shard(self, plate: _Plate, shard: int) -> tuple[ShardNote, bool]:
        """Returns the shard's note, and whether an earlier run had packed it."""
        note = find_shard(self.folder, plate.spec, shard)
        if note is not None:
            return note, True
        start = shard * plate.spec.shard_sites
        sites = plate.sites[start : start + plate.spec.shard_sites]
        packed = pack_sites(self.source, sites, plate.spec, self.spec.blosc_level)
        return write_shard(self.folder, plate.spec, shard, sites=packed), False


def _pack_shards(
    packing: _Packing, plates: list[_Plate], n_threads: int, progress: Progress
) -> tuple[dict[str, list[ShardNote]], int]:
    """Returns the notes of every plate's shards, and how many of them an earlier run had packed.

    A thread packs a shard at a time, site after site, so memory holds one site a thread.
    """
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


def _refuse_changed_folder(lake: Lake, landing: UPath, experiment_id: str) -> None:
    known = lake.raw_plates(experiment_id).record().summary["landing_signature"]
    if signature_of(landing, experiment_id) != known:
        message = f"{landing / experiment_id}: changed since raw_plates checked it; materialise raw_plates again"
        raise StaleArtifact(message)


def _manifest(lake: Lake, experiment_id: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    artifact = lake.raw_plates(experiment_id)
    record = artifact.record()
    images = read_table(artifact.path("images.parquet", record), IMAGES)
    wells = read_table(artifact.path("wells.parquet", record), WELLS)
    return images.filter("is_usable"), wells


def _plates(images: pl.DataFrame, spec: StoreSpec) -> Iterator[_Plate]:
    images = images.sort("plate_id", "well_id", "site_index", "channel_index")
    for (plate_id,), rows in images.group_by("plate_id", maintain_order=True):
        sites = tuple(
            SourceSite(
                well_id,
                site_index,
                tuple(SourceImage(*image) for image in channels.select("path", "n_bytes", "crc32c").rows()),
            )
            for (well_id, site_index), channels in rows.group_by("well_id", "site_index", maintain_order=True)
        )
        height, width, dtype = rows.select("height", "width", "dtype").row(0)
        n_channels = rows["channel_index"].n_unique()
        yield _Plate(
            PlateSpec(
                plate_id=str(plate_id),
                n_sites=len(sites),
                n_channels=n_channels,
                height=height,
                width=width,
                dtype=dtype,
                shard_sites=spec.shard_sites,
            ),
            sites,
        )


def _describe_array(folder: UPath, plate: PlateSpec, spec: StoreSpec, experiment_id: str) -> str:
    name = f"{plate.plate_id}.zarr/zarr.json"
    attributes = {"experiment_id": experiment_id, "plate_id": plate.plate_id}
    write_bytes(folder / name, zarr_metadata(plate, spec.blosc_level, attributes))
    return name


def _sites_table(experiment_id: str, plate: PlateSpec, notes: list[ShardNote]) -> pl.DataFrame:
    sites = [site for note in notes for site in note.sites]
    table = pl.DataFrame(
        {
            "experiment_id": [experiment_id] * len(sites),
            "plate_id": [plate.plate_id] * len(sites),
            "well_id": [site.well_id for site in sites],
            "site_index": [site.site_index for site in sites],
            "row_index": list(range(len(sites))),
        }
    )
    means = pl.Series([site.channel_mean for site in sites]).list.to_array(plate.n_channels).to_numpy()
    stds = pl.Series([site.channel_std for site in sites]).list.to_array(plate.n_channels).to_numpy()
    return with_vectors(with_vectors(table, means, "channel_mean"), stds, "channel_std")


def _channel_names(images: pl.DataFrame) -> list[str]:
    return [name for _, name in sorted(images.select("channel_index", "channel_name").unique().rows())]


def _store_json(plates: list[_Plate], channel_names: list[str]) -> bytes:
    specs = [plate.spec.model_dump(mode="json") for plate in plates]
    return json.dumps({"format_version": 1, "channel_names": channel_names, "plates": specs}, indent=1).encode()


def _summary(
    plates: list[_Plate], entries: list[FileEntry | str], images: pl.DataFrame, names: list[str], n_resumed: int
) -> dict[str, object]:
    n_bytes = sum(entry.n_bytes for entry in entries if isinstance(entry, FileEntry))
    first = plates[0].spec
    return {
        "n_sites": sum(plate.spec.n_sites for plate in plates),
        "n_plates": len(plates),
        "n_shards_resumed": n_resumed,
        "n_bytes": n_bytes,
        "source_bytes": int(images["n_bytes"].sum()),
        "channel_names": names,
        "height": first.height,
        "width": first.width,
        "dtype": first.dtype,
    }
