"""Reads planes of Zarr arrays that other programs wrote, versions 2 and 3, sharded or not, on any file system.

A chunk that is missing reads as the array's fill value, without an error. So a plane that contains this value is read
again with another fill value: where the two differ there is no chunk. This needs no knowledge of how chunks are named,
sharded or compressed.
"""

import functools
import json
import re
import zlib
from typing import Any

import numpy as np
import zarr
from jaxtyping import Shaped
from upath import UPath
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import WrapperStore

from cellassets.errors import ImageError
from cellassets.screens.codecs import MAX_PIXELS
from cellassets.storage.artifact import is_local

COPY_AGAIN = "copy the plate again"
METADATA = ("zarr.json", ".zarray")
MAX_CHUNK_BYTES = 1 << 30
Pixels = Shaped[np.ndarray, "y x"]
# the codecs report damage in many ways
DAMAGE = (ValueError, RuntimeError, IndexError, KeyError, TypeError, EOFError, zlib.error)


class OtherFill(WrapperStore[Any]):
    """A store of one array whose metadata give another fill value."""

    fill_value: int

    async def get(self, key: str, prototype: BufferPrototype, byte_range: Any = None) -> Buffer | None:
        """Returns a value of the store; in metadata, the fill value is replaced."""
        found: Buffer | None = await super().get(key, prototype, byte_range)
        if found is None or key.rpartition("/")[2] not in METADATA:
            return found
        metadata = {**json.loads(found.to_bytes()), "fill_value": self.fill_value}
        return default_buffer_prototype().buffer.from_bytes(json.dumps(metadata).encode())


def read_plane(place: UPath, part: str) -> Pixels:
    """Returns one plane of an array with the axes t, c, z, y and x, of which those before y can be missing.

    Args:
        place: folder of the array.
        part: the plane, such as `array c 1 z 0`.

    Raises:
        ImageError: there is no such array or plane, a chunk is damaged or missing, or the pixels are not 8 or 16 bit.
    """
    array = _open_array(str(place), place)
    index = {axis: int(number) for axis, number in re.findall(r"([a-z]) (\d+)", part)}
    selection = tuple(index[axis] for axis in _axes_of(place, array, index))
    pixels = _read(place, part, array, selection)
    is_fill = pixels == array.fill_value
    if is_fill.any():
        other = _open_array(str(place), place, fill_value=0 if array.fill_value else 1)
        is_missing = is_fill & (_read(place, part, other, selection) != pixels)
        if is_missing.any():
            rows, columns = np.nonzero(is_missing.any(axis=1))[0], np.nonzero(is_missing.any(axis=0))[0]
            message = (
                f"{place} ({part}): no chunk has rows {rows[0]} to {rows[-1]}, columns {columns[0]} to {columns[-1]} "
                f"(from 0); it is lost, or was left out because all its pixels are {array.fill_value}; {COPY_AGAIN}, "
                "or write it with empty chunks"
            )
            raise ImageError(message)
    return pixels


def _axes_of(place: UPath, array: Any, index: dict[str, int]) -> list[str]:
    """Returns the axes before y that an array has, after checking that it can be read."""
    axes = [axis for axis in "tcz" if axis in index]
    if array.ndim != len(axes) + 2:
        message = f"{place}: {array.ndim} axes; expected {', '.join(axes)}, y and x; {COPY_AGAIN}"
        raise ImageError(message)
    height, width = array.shape[-2:]
    if not 0 < height * width <= MAX_PIXELS:
        message = f"{place}: {height} x {width} pixels; expected 1 to {MAX_PIXELS}; {COPY_AGAIN}"
        raise ImageError(message)
    if array.dtype not in (np.uint8, np.uint16):
        message = f"{place}: pixels of {array.dtype}; expected 8 or 16 bit without sign; convert the plate"
        raise ImageError(message)
    n_bytes = array.dtype.itemsize * int(np.prod([int(size) for size in array.chunks], dtype=object))
    if n_bytes > MAX_CHUNK_BYTES:
        message = f"{place}: chunks of {n_bytes} bytes; expected at most {MAX_CHUNK_BYTES}; write smaller chunks"
        raise ImageError(message)
    return axes


def _read(place: UPath, part: str, array: Any, selection: tuple[int, ...]) -> Pixels:
    try:
        return np.ascontiguousarray(array[selection])
    except DAMAGE as error:
        message = f"{place} ({part}): damaged chunk ({error}); {COPY_AGAIN}"
        raise ImageError(message) from error


@functools.lru_cache(maxsize=256)
def _open_array(name: str, place: UPath, fill_value: int | None = None) -> Any:
    store = _store(place)
    if fill_value is not None:
        store = OtherFill(store)
        store.fill_value = fill_value
    try:
        return zarr.open_array(store, mode="r")
    except (FileNotFoundError, *DAMAGE) as error:
        message = f"{name}: not a Zarr array ({error}); {COPY_AGAIN}"
        raise ImageError(message) from error


def _store(place: UPath) -> Any:
    """Returns a place as zarr opens it."""
    if is_local(place):
        return zarr.storage.LocalStore(place.path, read_only=True)
    return zarr.storage.FsspecStore.from_url(str(place), storage_options=dict(place.storage_options), read_only=True)
