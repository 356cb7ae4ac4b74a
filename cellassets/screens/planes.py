"""Reads one plane of an image, wherever it is: a file, a page of a file, a row of a Parquet file, or an OME-Zarr array.

`part` says which part of the file it is: `page 2 of 5` or `row 17` (counted from 1), or `array c 1 z 0` (counted from
0). Stores that were published earlier say `page 2`, whatever the number of pages.
The checksum of a file is that of all its bytes, that of a row the one of its bytes, and that of an array the one of its
pixels.
"""

import functools
import re
from collections.abc import Mapping

import google_crc32c
import numpy as np
from jaxtyping import Shaped
from upath import UPath

from cellassets.errors import ImageError, LayoutError, StorageRefused
from cellassets.screens.codecs import Page, decode_image
from cellassets.screens.layouts.folders import resolve_landed

Pixels = Shaped[np.ndarray, "y x"]
Content = bytes | Pixels
MAX_GROUP_BYTES = 1 << 29
N_GROUPS_KEPT = 4
PAGE = re.compile(r"page (\d+)(?: of (\d+))?")


def read_content(folder: UPath, path: str, part: str | None) -> Content:
    """Returns the bytes of an image file or of a row, or the pixels of a plane of an array.

    Args:
        folder: the experiment's folder.
        path: path of the file relative to it.
        part: which part of the file; None for the whole.

    Raises:
        OSError: the file cannot be read.
        ImageError: there is no such part.
        PartitionKeyError: the path leads out of the landing zone.
    """
    place = resolve_landed(folder, path)
    kind, _, number = (part or "").partition(" ")
    if kind == "row":
        return _row(place, int(number) - 1)
    if kind == "array":
        from cellassets.screens.zarr_arrays import read_plane

        return read_plane(place, part or "")
    return place.read_bytes()


def size_of(content: Content) -> int:
    """Returns the number of bytes of an image."""
    return len(content) if isinstance(content, bytes) else content.nbytes


def checksum_of(content: Content) -> int:
    """Returns the CRC32C of an image's bytes or pixels."""
    return int(google_crc32c.value(content if isinstance(content, bytes) else content.tobytes()))


def decode_content(content: Content, part: str | None, *, source: str, out: Pixels | None = None) -> Pixels:
    """Returns the pixels of what `read_content` returned.

    Args:
        content: bytes or pixels.
        part: which part of the file it is.
        source: name of the image in error messages.
        out: array that receives the pixels; a new array by default.

    Raises:
        ImageError: the image is damaged, too large, or not greyscale of 8 or 16 bit.
    """
    if isinstance(content, bytes):
        return decode_image(content, source=source, page=_page_of(part), out=out)
    if out is None:
        return content
    if out.shape != content.shape or out.dtype != content.dtype:
        message = f"{source}: {content.dtype} {content.shape}; expected {out.dtype} {out.shape}"
        raise ImageError(message)
    np.copyto(out, content)
    return out


def _page_of(part: str | None) -> Page | None:
    found = PAGE.fullmatch(part or "")
    return None if found is None else Page(int(found[1]) - 1, None if found[2] is None else int(found[2]))


def _row(place: UPath, row: int) -> bytes:
    import pyarrow as pa

    status = place.stat()
    starts, column = _row_groups(str(place), place, status.st_size, status.st_mtime)
    group = int(np.searchsorted(starts, row, side="right")) - 1
    if not 0 <= group < len(starts) - 1:
        message = f"{place}: no row {row + 1}; it has {starts[-1]}"
        raise ImageError(message)
    try:
        found = _group(str(place), place, status.st_size, status.st_mtime, group, column)[row - int(starts[group])]
    except (ConnectionError, StorageRefused):  # says nothing about the file
        raise
    except (pa.lib.ArrowException, OSError) as error:  # pyarrow raises either
        message = f"{place}, row {row + 1}: damaged Parquet file ({error}); copy the file again"
        raise ImageError(message) from error
    if found is None:
        message = f"{place}, row {row + 1}: no image in it; copy the file again"
        raise ImageError(message)
    return found


@functools.lru_cache(maxsize=64)
def _row_groups(_name: str, place: UPath, _size: int, _time: float) -> tuple[np.ndarray, str]:
    """Returns the first row of each group and the number of rows, and the name of the column with images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with place.open("rb") as stream:
        file = pq.ParquetFile(stream)
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        schema = file.schema_arrow
    binary = [field.name for field in schema if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)]
    struct = [
        field.name for field in schema if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
    ]
    if len(binary) + len(struct) != 1:
        message = f"{place}: columns with bytes: {binary + struct}; expected one, with the images"
        raise LayoutError(message)
    return np.cumsum([0, *sizes]), (binary + struct)[0]


@functools.lru_cache(maxsize=N_GROUPS_KEPT)
def _group(_name: str, place: UPath, _size: int, _time: float, group: int, column: str) -> list[bytes | None]:
    """Returns the images of a row group; the last few groups are kept, since images are read in their order."""
    import pyarrow.parquet as pq

    with place.open("rb") as stream:
        file = pq.ParquetFile(stream)
        n_bytes = file.metadata.row_group(group).total_byte_size
        if n_bytes > MAX_GROUP_BYTES:
            message = f"{place}: row group {group} has {n_bytes} bytes; write it with at most 1,000 rows per group"
            raise LayoutError(message)
        cells = file.read_row_group(group, columns=[column])[column].to_pylist()
    return [cell.get("bytes") if isinstance(cell, Mapping) else cell for cell in cells]
