"""Writing shards: images are decoded, compared with the manifest, compressed and appended, one shard at a time.

Memory holds a few sites, whatever the size of the plate. A shard becomes visible when it is complete. A note beside it
holds its checksum and the statistics of its sites; a later run uses the note to find finished shards.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from pydantic import ValidationError
from upath import UPath

from cellassets.configuration import Parameters
from cellassets.errors import CorruptArtifact, ImageError, StorageRefused
from cellassets.images.illumination import correction_of
from cellassets.images.spec import PlateSpec, checksum_of, empty_index, encode_site, frame_buffer
from cellassets.screens.imaging import Imaging
from cellassets.screens.landing import CHECK_AGAIN
from cellassets.screens.planes import checksum_of as crc32c_of
from cellassets.screens.planes import decode_content, read_content, size_of
from cellassets.storage.artifact import FileEntry, atomic_write, describe_file, write_bytes

STATISTICS_BLOCK = 1 << 18  # pixels; as float32 they fit into the cache of a core
MAX_WIDTH_UINT32 = (2**32 - 1) // (2**16 - 1)  # pixels: 65,537 times the highest 16-bit level is the largest uint32


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
    """One compressed site, with mean and standard deviation per channel in grey levels.

    `content` is overwritten by the next site of the same iterator.
    """

    site: SourceSite
    content: UInt8[np.ndarray, "byte"]
    channel_mean: Float32[np.ndarray, "channel"]
    channel_std: Float32[np.ndarray, "channel"]


def pack_sites(
    source: UPath, sites: Sequence[SourceSite], plate: PlateSpec, level: int, imaging: Imaging
) -> Iterator[PackedSite]:
    """Yields sites that are read from their image files and compressed; the same memory is used for all of them.

    Args:
        source: landing folder of the experiment.
        sites: the sites to pack, in their order.
        plate: shape of the plate's array.
        level: compression level.
        imaging: says how several planes become one image, and whether illumination is corrected.

    Raises:
        ImageError: a file differs from the manifest, or cannot be decoded.
    """
    images, frame = np.empty(plate.site_shape, dtype=plate.dtype), frame_buffer(plate)
    correct = correction_of(source, plate.plate_id, imaging)
    for site in sites:
        for channel, planes in enumerate(site.images):
            read_projected(source, planes, imaging.z_projection, out=images[channel])
            correct(channel, images[channel])
        mean, std = channel_statistics(images)
        yield PackedSite(site, encode_site(images, level, frame), mean, std)


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


def read_unchecked(source: UPath, image: SourceImage, *, out: Shaped[np.ndarray, "y x"]) -> None:
    """Writes the pixels of one image into `out`, whatever the manifest says of its file."""
    decode_content(read_content(source, image.path, image.part), image.part, source=image.path, out=out)


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
    """Returns mean and standard deviation of the pixels of each channel, in grey levels.

    Rows are summed as integers, so the mean is exact. The mean is subtracted before squares are summed in float32.
    """
    is_narrow = images.shape[2] <= MAX_WIDTH_UINT32
    sums = images.sum(axis=2, dtype=np.uint32 if is_narrow else np.uint64)  # uint64 takes twice as long
    mean = sums.sum(axis=1, dtype=np.float64) / images[0].size
    centred = np.empty(min(STATISTICS_BLOCK, images[0].size), np.float32)
    pairs = zip(images, mean, strict=True)
    squares = [_sum_of_squares(image.reshape(-1), np.float32(level), centred) for image, level in pairs]
    return mean.astype(np.float32), np.sqrt(np.array(squares, np.float32) / np.float32(images[0].size))


def _sum_of_squares(
    pixels: Shaped[np.ndarray, "pixel"], mean: np.float32, centred: Float32[np.ndarray, "block"]
) -> float:
    """Returns the sum of squared differences from the mean, block by block in the memory of `centred`."""
    total = 0.0
    for start in range(0, pixels.size, len(centred)):
        block = pixels[start : start + len(centred)]
        differences = np.subtract(block, mean, out=centred[: len(block)])
        total += float(np.dot(differences, differences))
    return total


def _append(stream: BinaryIO, checksum: google_crc32c.Checksum, content: bytes | UInt8[np.ndarray, "byte"]) -> None:
    buffer: Any = content  # an array is accepted too
    stream.write(buffer)
    checksum.update(buffer)


def _note_path(folder: UPath, plate: PlateSpec, shard: int) -> UPath:
    return folder / f"{plate.plate_id}.shards" / f"{shard:05d}.json"
