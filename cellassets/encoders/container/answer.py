"""Reads and checks the vectors that a container encoder wrote: `embeddings.npy` or `embeddings.csv`.

The process is not trusted: only a regular file of a plausible size is read, and nothing is unpickled.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float32

from cellassets.errors import EncoderError

NPY_NAME, CSV_NAME = "embeddings.npy", "embeddings.csv"
MAX_HEADER_BYTES = 1 << 16
MAX_ROW_DIGITS = 9
MAX_BYTES_PER_NUMBER = 40  # of text, with its comma


@dataclass(frozen=True)
class Expected:
    """What the answer for one batch must be.

    Attributes:
        sites: name of each site for people, in the order of the batch.
        embedding_dim: length of a vector.
        is_uniform: true if all sites look alike, so that equal vectors are right.
    """

    sites: Sequence[str]
    embedding_dim: int
    is_uniform: bool


def read_answer(folder: Path, expected: Expected) -> Float32[np.ndarray, "site feature"]:
    """Returns one vector per site, in the order of the batch.

    Raises:
        EncoderError: there is not exactly one answer, or it is not what was expected; the message names the file, the
            site, what was found and what was expected.
    """
    present = [name for name in (NPY_NAME, CSV_NAME) if os.path.lexists(folder / name)]
    if len(present) != 1:
        others = ", ".join(sorted(path.name for path in folder.iterdir())[:10])
        found = " and ".join(present) or f"neither ({others or 'the folder is empty'})"
        message = f"{folder}: expected one of {NPY_NAME} and {CSV_NAME}, found {found}"
        raise EncoderError(message)
    path = folder / present[0]
    read, limit = (_from_npy, 4) if present[0] == NPY_NAME else (_from_csv, MAX_BYTES_PER_NUMBER)
    most = len(expected.sites) * (expected.embedding_dim + 1) * limit + MAX_HEADER_BYTES
    with _open_regular(path, most) as stream:
        vectors = read(path, stream, expected)
    _check_values(path, vectors, expected)
    return vectors


def _open_regular(path: Path, max_bytes: int) -> BinaryIO:
    """Opens a regular file without following a link or waiting for a pipe."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); expected a regular file, not a link"
        raise EncoderError(message) from error
    stream = os.fdopen(handle, "rb")
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_size > max_bytes:
        stream.close()
        what = f"{found.st_size:,} bytes" if stat.S_ISREG(found.st_mode) else "not a regular file"
        message = f"{path}: found {what}; expected a regular file of at most {max_bytes:,} bytes"
        raise EncoderError(message)
    return stream


def _from_npy(path: Path, stream: BinaryIO, expected: Expected) -> Float32[np.ndarray, "site feature"]:
    shape = (len(expected.sites), expected.embedding_dim)
    wanted = f"a float32 array of shape {shape} in C order, version 1.0 or 2.0 of the format"
    try:
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        found = readers[np.lib.format.read_magic(stream)](stream)
    except (KeyError, ValueError, SyntaxError) as error:
        message = f"{path}: cannot be read as .npy ({error}); expected {wanted}"
        raise EncoderError(message) from error
    content = stream.read()
    if found != (shape, False, np.dtype("<f4")) or len(content) != 4 * shape[0] * shape[1]:
        message = (
            f"{path}: found {found[2]} of shape {found[0]}{' in Fortran order' if found[1] else ''} and "
            f"{len(content)} bytes of data; expected {wanted}"
        )
        raise EncoderError(message)
    return np.frombuffer(content, dtype="<f4").reshape(shape).astype(np.float32)


def _from_csv(path: Path, stream: BinaryIO, expected: Expected) -> Float32[np.ndarray, "site feature"]:
    vectors = np.empty((len(expected.sites), expected.embedding_dim), dtype=np.float32)
    is_there = np.zeros(len(expected.sites), dtype=bool)
    for number, line in enumerate(stream, start=1):
        row, values = _parsed(f"{path}, line {number}", line, expected)
        if is_there[row]:
            message = f"{path}, line {number}: row {row} ({expected.sites[row]}) is there twice; expected it once"
            raise EncoderError(message)
        vectors[row], is_there[row] = values, True
    if not is_there.all():
        first = int(np.flatnonzero(~is_there)[0])
        message = (
            f"{path}: found {is_there.sum()} of {len(is_there)} sites; row {first} ({expected.sites[first]}) is the "
            "first that is missing"
        )
        raise EncoderError(message)
    return vectors


def _parsed(place: str, line: bytes, expected: Expected) -> tuple[int, Float32[np.ndarray, "feature"]]:
    """The row number and the vector in a line."""
    first, *others = line.decode(errors="replace").strip().split(",")
    is_number = first.isascii() and first.isdecimal() and len(first) <= MAX_ROW_DIGITS
    if not is_number or int(first) >= len(expected.sites):
        message = f"{place}: starts with {first[:40]!r}; expected a row number from 0 to {len(expected.sites) - 1}"
        raise EncoderError(message)
    row = int(first)
    if len(others) != expected.embedding_dim:
        message = (
            f"{place}: row {row} ({expected.sites[row]}) has {len(others)} values; expected {expected.embedding_dim}"
        )
        raise EncoderError(message)
    try:
        with np.errstate(over="ignore"):  # what becomes infinite is refused with the other values
            return row, np.array([float(value) for value in others]).astype(np.float32)
    except ValueError as error:
        message = f"{place}: row {row} ({expected.sites[row]}): {error}; expected numbers with a decimal point"
        raise EncoderError(message) from error


def _check_values(path: Path, vectors: Float32[np.ndarray, "site feature"], expected: Expected) -> None:
    is_bad = ~np.isfinite(vectors).all(axis=1)
    if is_bad.any():
        row = int(np.flatnonzero(is_bad)[0])
        feature = int(np.flatnonzero(~np.isfinite(vectors[row]))[0])
        message = (
            f"{path}: value {feature} of row {row} ({expected.sites[row]}) is {vectors[row, feature]}; expected a "
            f"finite number ({is_bad.sum()} such sites in the batch)"
        )
        raise EncoderError(message)
    if len(vectors) > 1 and not expected.is_uniform and (vectors == vectors[0]).all():
        message = (
            f"{path}: all {len(vectors)} sites have the same vector; expected different vectors, because their images "
            "differ"
        )
        raise EncoderError(message)
