"""The bytes of an annotation pack: from an https address or a local file, within limits, with the right checksum.

Nothing is parsed before its checksum was compared.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from cellassets.errors import AnnotationError

READ_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class Limits:
    """What a download may take.

    Attributes:
        max_bytes: largest size of the file in bytes.
        timeout_s: longest wait for an answer or for the next bytes, in seconds.
        total_s: longest time in all, in seconds.
    """

    max_bytes: int = 256 << 20
    timeout_s: float = 30.0
    total_s: float = 600.0


def fetch_file(source: str, limits: Limits) -> bytes:
    """Returns the bytes at an https address, or of a local file.

    Args:
        source: address, or path of a local file.
        limits: what the download may take.

    Raises:
        AnnotationError: the address is wrong or not https, or leads to one that is not, nothing answers in time, the
            answer is incomplete or too large, or the file cannot be read.
    """
    scheme = _scheme(source)
    if scheme == "https":
        return _joined(source, _downloaded(source, limits), limits)
    if "://" in source:
        message = f"{source}: {scheme} is not accepted; expected an https address or a local file"
        raise AnnotationError(message)
    try:
        with Path(source).open("rb") as stream:
            return _joined(source, _blocks(stream.read), limits)
    except OSError as error:
        message = f"{source}: cannot be read ({error.strerror}); expected the file of an annotation pack"
        raise AnnotationError(message) from error


def check_file(content: bytes, *, sha256: str, n_bytes: int | None, source: str) -> None:
    """Compares bytes with the checksum that they should have.

    Raises:
        AnnotationError: they differ; the message has both checksums.
    """
    found = hashlib.sha256(content).hexdigest()
    if found == sha256:
        return
    expected_size = "" if n_bytes is None else f" ({n_bytes} bytes)"
    message = (
        f"{source}: SHA-256 {found} ({len(content)} bytes), expected {sha256}{expected_size}: the file is damaged, "
        "incomplete or another version; nothing was installed. Get the file again. Add a version of your own under a "
        "name of its own with `cellassets annotation add`"
    )
    raise AnnotationError(message)


def _scheme(address: str) -> str:
    try:
        return urlsplit(address).scheme
    except ValueError as error:
        message = f"{address}: not an address ({error}); expected an https address or a local file"
        raise AnnotationError(message) from error


def _downloaded(url: str, limits: Limits) -> Iterator[bytes]:
    """Yields the blocks of a download; an incomplete one ends with an error."""
    ends_at = time.monotonic() + limits.total_s
    n_read = 0
    try:
        request = Request(url, headers={"User-Agent": "cellassets", "Accept-Encoding": "identity"})  # noqa: S310 - https
        with build_opener(_HttpsOnly).open(request, timeout=limits.timeout_s) as answer:
            length = answer.headers.get("Content-Length")
            _check_size(url, int(length) if length and length.isdecimal() else 0, limits)
            for block in _blocks(answer.read1):  # returns what is there, so that the time is looked at often
                n_read += len(block)
                yield block
                if time.monotonic() > ends_at:
                    message = f"{url}: not complete after {limits.total_s:g} s ({n_read} bytes); {_BY_HAND}"
                    raise AnnotationError(message)
    except (URLError, HTTPException, OSError) as error:
        message = f"{url}: could not be downloaded ({error}); {_BY_HAND}"
        raise AnnotationError(message) from error
    if length and length.isdecimal() and n_read != int(length):
        message = f"{url}: {n_read} of {length} bytes came; the download was cut off; {_BY_HAND}"
        raise AnnotationError(message)


def _joined(source: str, blocks: Iterator[bytes], limits: Limits) -> bytes:
    content = bytearray()
    for block in blocks:
        content += block
        _check_size(source, len(content), limits)
    return bytes(content)


def _check_size(source: str, n_bytes: int, limits: Limits) -> None:
    if n_bytes > limits.max_bytes:
        message = (
            f"{source}: at least {n_bytes} bytes, expected at most {limits.max_bytes}: this is not the file of the "
            "pack; nothing was installed"
        )
        raise AnnotationError(message)


def _blocks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while block := read(READ_BLOCK_BYTES):
        yield block


class _HttpsOnly(HTTPRedirectHandler):
    """Follows redirections to https addresses only."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if _scheme(newurl) != "https":
            message = f"{req.full_url}: leads to {newurl}, which is not https; nothing was downloaded from there"
            raise AnnotationError(message)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_BY_HAND = "try again, or download the file yourself and install it with --from FILE"
