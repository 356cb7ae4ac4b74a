"""Writing shards: images are decoded, compared with the manifest, compressed and appended, one shard at a time.

Memory holds a few sites, whatever the size of the plate. A shard becomes visible when it is complete. A note beside it
holds its checksum and the statistics of its sites; a later run uses the note to find finished shards.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import google_crc32c
import numpy as np
from jaxtyping import Float32, Shaped
from pydantic import ValidationError
from upath import UPath

from cellassets.configuration import Parameters
from cellassets.errors import CorruptArtifact, ImageError, StorageRefused
from cellassets.images.spec import PlateSpec, checksum_of, empty_index, encode_site
from cellassets.screens.landing import CHECK_AGAIN
from cellassets.screens.planes import checksum_of as crc32c_of
from cellassets.screens.planes import decode_content, read_content, size_of
from cellassets.storage.artifact import FileEntry, atomic_write, describe_file, write_bytes


@dataclass(frozen=True)
class SourceImage:
    """One plane to pack, as the manifest describes it: path below the landing folder, size in bytes, CRC32C, part."""

    path: str
    n_bytes: int
    crc32c: int
    part: str | None = None


@dataclass(frozen=True)
class SourceSite:
    """One site to pack: its well, its 1-based index, and the planes of each channel, in the order of the channels."""

    well_id: str
    site_index: int
    images: tuple[tuple[SourceImage, ...], ...]


class SiteNote(Parameters):
    """One packed site: mean and standard deviation per channel, in grey levels."""

    well_id: str
    site_index: int
    channel_mean: tuple[float, ...]
    channel_std: tuple[float, ...]


class ShardNote(Parameters):
    """One finished shard: its file and its sites in the order of the array's rows."""

    file: FileEntry
    sites: tuple[SiteNote, ...]


def find_shard(folder: UPath, plate: PlateSpec, shard: int) -> ShardNote | None:
    """Returns the note of a shard that an earlier run finished and that is undamaged; None otherwise."""
    try:
        note = ShardNote.model_validate_json(_note_path(folder, plate, shard).read_bytes())
        found = describe_file(folder / note.file.name, note.file.name)
    except (FileNotFoundError, ValidationError, CorruptArtifact):
        return None
    return note if found == note.file else None


def write_shard(
    folder: UPath,
    plate: PlateSpec,
    shard: int,
    *,
    sites: Iterable["PackedSite"],
) -> ShardNote:
    """Returns the note of a shard after writing it.

    Args:
        folder: folder of the store.
        plate: shape of the plate's array.
        shard: number of the shard, 0-based.
        sites: the sites of the shard in their order; an iterator is consumed site by site.
    """
    name = plate.shard_name(shard)
    index = empty_index(plate.shard_sites)
    notes, offset, checksum = [], 0, google_crc32c.Checksum()
    with atomic_write(folder / name) as stream:
        for row, packed in enumerate(sites):
            _append(stream, checksum, packed.content)
            index[row] = offset, len(packed.content)
            offset += len(packed.content)
            notes.append(
                SiteNote(
                    well_id=packed.site.well_id,
                    site_index=packed.site.site_index,
                    channel_mean=tuple(packed.channel_mean.tolist()),
                    channel_std=tuple(packed.channel_std.tolist()),
                )
            )
        table = index.tobytes()
        _append(stream, checksum, table + checksum_of(table))
    entry = FileEntry(name=name, n_bytes=offset + plate.index_bytes, crc32c=int.from_bytes(checksum.digest(), "big"))
    note = ShardNote(file=entry, sites=tuple(notes))
    write_bytes(_note_path(folder, plate, shard), note.model_dump_json().encode())
    return note


@dataclass(frozen=True)
class PackedSite:
    """One compressed site, with mean and standard deviation per channel in grey levels."""

    site: SourceSite
    content: bytes
    channel_mean: Float32[np.ndarray, "channel"]
    channel_std: Float32[np.ndarray, "channel"]


def pack_sites(
    source: UPath, sites: Sequence[SourceSite], plate: PlateSpec, level: int, projection: str | None = None
) -> Iterator[PackedSite]:
    """Yields sites that are read from their image files and compressed; one buffer is reused for all.

    Args:
        source: landing folder of the experiment.
        sites: the sites to pack, in their order.
        plate: shape of the plate's array.
        level: compression level.
        projection: how several planes become one image.

    Raises:
        ImageError: a file differs from the manifest, or cannot be decoded.
    """
    images = np.empty(plate.site_shape, dtype=plate.dtype)
    for site in sites:
        for channel, planes in enumerate(site.images):
            read_projected(source, planes, projection, out=images[channel])
        mean, std = channel_statistics(images)
        yield PackedSite(site, encode_site(images, level), mean, std)


def read_image(source: UPath, image: SourceImage, *, out: Shaped[np.ndarray, "y x"]) -> None:
    """Writes the pixels of one image into `out`, after comparing size and checksum of its file with the manifest.

    Raises:
        ImageError: the file cannot be read, differs from the manifest, or cannot be decoded.
    """
    path = f"{source / image.path}" if image.part is None else f"{source / image.path} ({image.part})"
    try:
        content = read_content(source, image.path, image.part)
    except (ConnectionError, StorageRefused):  # says nothing about the image
        raise
    except OSError as error:
        message = f"{path}: listed in the manifest but cannot be read ({error}); restore the file; {CHECK_AGAIN}"
        raise ImageError(message) from error
    if size_of(content) != image.n_bytes or crc32c_of(content) != image.crc32c:
        message = f"{path}: {size_of(content)} bytes, changed since it was checked with {image.n_bytes}; {CHECK_AGAIN}"
        raise ImageError(message)
    decode_content(content, image.part, source=path, out=out)


def read_projected(
    source: UPath,
    planes: Sequence[SourceImage],
    projection: str | None,
    *,
    out: Shaped[np.ndarray, "y x"],
    read: Callable[..., None] = read_image,
) -> None:
    """Writes the image of one channel into `out`: its only plane, or the projection of all its planes.

    Args:
        source: landing folder of the experiment.
        planes: the planes, in their order.
        projection: `maximum`, `mean` (rounded), or `middle` (the lower one of two).
        out: array that receives the pixels.
        read: reads one plane; by default it is compared with the manifest.

    Raises:
        ImageError: as `read_image`.
    """
    if projection == "middle":
        planes = [planes[(len(planes) - 1) // 2]]
    read(source, planes[0], out=out)
    if len(planes) == 1:
        return
    plane = np.empty_like(out)
    total = out.astype(np.uint32)
    for image in planes[1:]:
        read(source, image, out=plane)
        if projection == "maximum":
            np.maximum(out, plane, out=out)
        else:
            total += plane
    if projection != "maximum":
        out[...] = (total + len(planes) // 2) // len(planes)


def channel_statistics(
    images: Shaped[np.ndarray, "channel y x"],
) -> tuple[Float32[np.ndarray, "channel"], Float32[np.ndarray, "channel"]]:
    """Returns mean and standard deviation of the pixels of each channel, in grey levels."""
    mean = images.sum(axis=2, dtype=np.uint32).mean(axis=1) / images.shape[2]
    std = np.empty(len(images), np.float32)
    centred = np.empty(images[0].size, np.float32)
    for channel, image in enumerate(images):
        np.subtract(image.ravel(), np.float32(mean[channel]), out=centred)
        std[channel] = np.sqrt(np.dot(centred, centred) / centred.size)
    return mean.astype(np.float32), std


def _append(stream: BinaryIO, checksum: google_crc32c.Checksum, content: bytes) -> None:
    stream.write(content)
    checksum.update(content)


def _note_path(folder: UPath, plate: PlateSpec, shard: int) -> UPath:
    return folder / f"{plate.plate_id}.shards" / f"{shard:05d}.json"
