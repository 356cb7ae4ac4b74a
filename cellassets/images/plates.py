"""The plates of an experiment between manifest and store: which sites are packed, and the tables that describe them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from cellassets.images.spec import PlateSpec
from cellassets.images.store_spec import StoreSpec
from cellassets.images.writer import ShardNote, SourceImage, SourceSite
from cellassets.screens.imaging import Imaging
from cellassets.tables.parquet import with_vectors


@dataclass(frozen=True)
class SourcePlate:
    """One plate to pack: the shape of its array, and its sites in the order of the array's rows."""

    spec: PlateSpec
    sites: tuple[SourceSite, ...]


def source_plates(images: pl.DataFrame, spec: StoreSpec) -> Iterator[SourcePlate]:
    """Yields the plates of an IMAGES table, sorted; sites are sorted by well and site, images by channel.

    Args:
        images: IMAGES table of the sites to pack, every site with all channels.
        spec: gives the number of sites per shard.
    """
    images = images.sort("plate_id", "well_id", "site_index", "channel_index", "z_index")
    for (plate_id,), rows in images.group_by("plate_id", maintain_order=True):
        sites = tuple(
            SourceSite(
                well_id,
                site_index,
                tuple(
                    tuple(SourceImage(*plane) for plane in planes.select("path", "n_bytes", "crc32c", "part").rows())
                    for _, planes in channels.group_by("channel_index", maintain_order=True)
                ),
            )
            for (well_id, site_index), channels in rows.group_by("well_id", "site_index", maintain_order=True)
        )
        height, width, dtype = rows.select("height", "width", "dtype").row(0)
        yield SourcePlate(
            PlateSpec(
                plate_id=str(plate_id),
                n_sites=len(sites),
                n_channels=rows["channel_index"].n_unique(),
                height=height,
                width=width,
                dtype=dtype,
                shard_sites=spec.shard_sites,
            ),
            sites,
        )


def sites_table(experiment_id: str, plate: PlateSpec, notes: Sequence[ShardNote]) -> pl.DataFrame:
    """Returns the SITES table of one packed plate, one row per site in the order of the array's rows.

    Args:
        experiment_id: the experiment.
        plate: shape of the plate's array.
        notes: notes of the plate's shards, in their order.
    """
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


def store_json(plates: Sequence[PlateSpec], imaging: Imaging) -> bytes:
    """Returns the content of `store.json`: how the images were taken, and the shape of every plate's array."""
    specs = [plate.model_dump(mode="json") for plate in plates]
    content = {"format_version": 2, "imaging": imaging.model_dump(mode="json", exclude_none=True), "plates": specs}
    return json.dumps(content, indent=1).encode()
