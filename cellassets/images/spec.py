"""Format of a plate's array on disk: sharded Zarr v3, `[site, channel, y, x]`, one chunk per site with a checksum.

The format is written by our own code so that a shard can be streamed with only a few sites in memory. Any Zarr v3
reader can open it.

Source: Zarr core specification v3; sharding codec specification v1.0.
"""

import json
import math
from typing import Any

import google_crc32c
import imagecodecs
import numpy as np
from jaxtyping import Integer, Shaped, UInt8, UInt64

from cellassets.configuration import Parameters
from cellassets.errors import CorruptArtifact

PIXEL_TYPES = ("uint8", "uint16")  # of stored images, as numpy names them
MISSING = np.uint64(0xFFFFFFFFFFFFFFFF)
CRC_BYTES = 4
BLOSC_HEADER_BYTES = 16  # largest size of a frame beyond its content. Source: BLOSC_MAX_OVERHEAD of blosc.h
HOW_TO_REPAIR = "run `cellassets artifact verify`, which names the commit record to delete"


class PlateSpec(Parameters):
    """Shape and type of one plate's array."""

    plate_id: str
    n_sites: int
    n_channels: int
    height: int
    width: int
    dtype: str
    shard_sites: int

    @property
    def n_shards(self) -> int:
        """Number of shard files of the plate."""
        return -(-self.n_sites // self.shard_sites)

    @property
    def index_bytes(self) -> int:
        """Size in bytes of the index at a shard's end: offset and length per chunk, and a CRC32C."""
        return 16 * self.shard_sites + CRC_BYTES

    @property
    def site_shape(self) -> tuple[int, int, int]:
        """Number of channels, height and width."""
        return self.n_channels, self.height, self.width

    def shard_name(self, shard: int) -> str:
        """Returns the file name of a shard, relative to the store's folder."""
        return f"{self.plate_id}.zarr/c/{shard}/0/0/0"


def frame_buffer(plate: PlateSpec) -> UInt8[np.ndarray, "byte"]:
    """Returns memory for one compressed site of a plate and its checksum, also if nothing can be compressed."""
    n_bytes = math.prod(plate.site_shape) * np.dtype(plate.dtype).itemsize
    return np.empty(n_bytes + BLOSC_HEADER_BYTES + CRC_BYTES, dtype=np.uint8)


def encode_site(
    images: Shaped[np.ndarray, "channel y x"], level: int, out: UInt8[np.ndarray, "byte"]
) -> UInt8[np.ndarray, "chunk_byte"]:
    """Returns one site as a Blosc frame (lz4, bit shuffle) and its CRC32C: the first bytes of `out`.

    Args:
        images: the site.
        level: compression level.
        out: memory of `frame_buffer`, overwritten. New memory for every site costs as much time as the statistics.
    """
    pixels: Any = images  # the codec accepts any buffer; the annotations of the package are narrower
    memory: Any = out[:-CRC_BYTES]
    frame = imagecodecs.blosc_encode(
        pixels, level=level, compressor="lz4", shuffle="bitshuffle", typesize=images.itemsize, numthreads=1, out=memory
    )
    end = len(frame)
    out[end : end + CRC_BYTES] = np.frombuffer(checksum_of(out[:end]), dtype=np.uint8)
    return out[: end + CRC_BYTES]


def decode_site(content: bytes, out: Shaped[np.ndarray, "channel y x"], *, source: str) -> None:
    """Writes one site's pixels into `out`.

    Raises:
        CorruptArtifact: the bytes differ from those that were written.
    """
    frame: Any = np.frombuffer(content, dtype=np.uint8)[:-CRC_BYTES]  # not a copy, as a slice of bytes would be
    checksum = content[-CRC_BYTES:]
    if checksum_of(frame) != checksum:
        message = f"{source}: damaged chunk of {len(content)} bytes; {HOW_TO_REPAIR}"
        raise CorruptArtifact(message)
    flat: Any = out.reshape(-1).view(np.uint8)
    try:
        imagecodecs.blosc_decode(frame, numthreads=1, out=flat)
    except (imagecodecs.BloscError, ValueError, RuntimeError) as error:
        message = (
            f"{source}: chunk of {len(content)} bytes is not a site of shape {out.shape} ({error}); {HOW_TO_REPAIR}"
        )
        raise CorruptArtifact(message) from error


def checksum_of(content: bytes | UInt8[np.ndarray, "byte"]) -> bytes:
    """Returns the CRC32C of bytes as Zarr's crc32c codec stores it: 4 bytes, little-endian."""
    buffer: Any = content  # an array is accepted too
    return int(google_crc32c.value(buffer)).to_bytes(CRC_BYTES, "little")


def zarr_metadata(plate: PlateSpec, level: int, attributes: dict[str, Any]) -> bytes:
    """Returns the content of `zarr.json` for a plate's array."""
    chunk = [1, *plate.site_shape]
    blosc = {
        "typesize": np.dtype(plate.dtype).itemsize,
        "cname": "lz4",
        "clevel": level,
        "shuffle": "bitshuffle",
        "blocksize": 0,
    }
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    sharding = {
        "chunk_shape": chunk,
        "codecs": [little, {"name": "blosc", "configuration": blosc}, {"name": "crc32c"}],
        "index_codecs": [little, {"name": "crc32c"}],
        "index_location": "end",
    }
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [plate.n_sites, *plate.site_shape],
        "data_type": plate.dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [plate.shard_sites, *plate.site_shape]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": attributes,
        "dimension_names": ["site", "channel", "y", "x"],
        "storage_transformers": [],
    }
    return json.dumps(metadata, indent=1).encode()


def empty_index(shard_sites: int) -> UInt64[np.ndarray, "site 2"]:
    """Returns the index of a shard without chunks: offset and length per site, all marked as missing."""
    return np.full((shard_sites, 2), MISSING, dtype="<u8")


def as_positions(index: UInt64[np.ndarray, "site 2"]) -> Integer[np.ndarray, "site 2"]:
    """Returns offsets and lengths as signed integers; a missing chunk has length -1."""
    return index.astype(np.int64)
