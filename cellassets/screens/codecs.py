"""Decoding of image files: PNG, TIFF and JPEG 2000, greyscale, 8 or 16 bit. Incomplete files are refused.

imagecodecs decodes because other decoders return zeros or nothing for truncated files. The size that a file claims is
read from its header and bounded first, because decoding allocates what it claims.
"""

import io
import logging
import struct
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from jaxtyping import Shaped

from cellassets.errors import ImageError

MAX_PIXELS = 1 << 26  # 8,192 x 8,192
COPY_AGAIN = "copy the file again"
EXPECTED = "expected a greyscale PNG, TIFF or JPEG 2000"
PNG_SIZE = slice(16, 24)  # width and height in the first chunk. Source: PNG specification, 11.2.2 IHDR
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_END = b"IEND\xaeB`\x82"
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
JP2_SIGNATURES = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
JP2_START = b"\xff\x4f\xff\x51"  # start of codestream and of the SIZ segment. Source: ISO/IEC 15444-1, annex A
JP2_END = b"\xff\xd9"
Pixels = Shaped[np.ndarray, "y x"]


def decode_image(content: bytes, *, source: str, page: int | None = None, out: Pixels | None = None) -> Pixels:
    """Returns the pixels of a greyscale image, 8 or 16 bit, in the grey levels of the file.

    Args:
        content: bytes of the file.
        source: name of the file in error messages.
        page: number, from 0, of the page of a TIFF; None if it must have one page.
        out: array that receives the pixels; a new array by default.

    Raises:
        ImageError: the file is empty, truncated, damaged, of another format, too large, or not greyscale.
    """
    if not content:
        message = f"{source}: empty file; {EXPECTED}"
        raise ImageError(message)
    decode = _decoder_of(content)
    if decode is None or (page is not None and decode is not _decode_tiff):
        what = "not an image" if decode is None else "has one page"
        message = f"{source}: {what} (starts with {content[:8]!r}); {EXPECTED}{' with pages' if decode else ''}"
        raise ImageError(message)
    try:
        pixels = decode(content, source, page, out)
    except ImageError:
        raise
    # libtiff, libpng and OpenJPEG report damage in many ways
    except (
        imagecodecs.PngError,
        imagecodecs.TiffError,
        imagecodecs.Jpeg2kError,
        ValueError,
        RuntimeError,
        IndexError,
    ) as error:
        message = f"{source}: damaged image of {len(content)} bytes ({error}); {COPY_AGAIN}"
        raise ImageError(message) from error
    if pixels.ndim != 2:
        message = f"{source}: shape {pixels.shape}; expected greyscale, one image per channel and plane"
        raise ImageError(message)
    if pixels.dtype not in (np.uint8, np.uint16):
        message = f"{source}: pixels of {pixels.dtype}; expected 8 or 16 bit without sign"
        raise ImageError(message)
    return pixels


def _decoder_of(content: bytes) -> "Callable[[bytes, str, int | None, Pixels | None], Pixels] | None":
    if content.startswith(PNG_SIGNATURE):
        return _decode_image
    if content.startswith(TIFF_SIGNATURES):
        return _decode_tiff
    if content.startswith(JP2_SIGNATURES):
        return _decode_jp2
    return None


def _decode_image(content: bytes, source: str, _page: int | None, out: Pixels | None) -> Pixels:
    if content.rfind(PNG_END) < 0:  # some cameras append data of their own
        message = f"{source}: truncated after {len(content)} bytes: a PNG ends with IEND; {COPY_AGAIN}"
        raise ImageError(message)
    if len(content) < PNG_SIZE.stop:
        message = f"{source}: {len(content)} bytes without an image; {COPY_AGAIN}"
        raise ImageError(message)
    width, height = struct.unpack(">II", content[PNG_SIZE])
    _bound(height, width, content, source)
    return imagecodecs.png_decode(content, out=out)


def _decode_tiff(content: bytes, source: str, page: int | None, out: Pixels | None) -> Pixels:
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # damage is an error here, not a line in a log
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as tiff:
            n_pages = len(tiff.pages)
            wanted = 0 if page is None else page
            if not wanted < n_pages:
                message = f"{source}: {n_pages} pages; expected page {wanted + 1}"
                raise ImageError(message)
            form: Any = tiff.pages[wanted]
            shape = form.shape
    except (tifffile.TiffFileError, struct.error, IndexError, KeyError, TypeError) as error:
        message = f"{source}: damaged TIFF of {len(content)} bytes ({error}); {COPY_AGAIN}"
        raise ImageError(message) from error
    if page is None and n_pages > 1:
        message = f"{source}: {n_pages} pages; expected one image per file, or `pages: channel` in the layout"
        raise ImageError(message)
    if len(shape) != 2:
        message = f"{source}: shape {shape}; expected greyscale, one image per channel and plane"
        raise ImageError(message)
    _bound(shape[0], shape[1], content, source)
    return imagecodecs.tiff_decode(content, index=wanted, out=out)


def _decode_jp2(content: bytes, source: str, _page: int | None, out: Pixels | None) -> Pixels:
    start = content.find(JP2_START)
    if start < 0 or len(content) < start + 24:
        message = f"{source}: truncated after {len(content)} bytes: no JPEG 2000 image in it; {COPY_AGAIN}"
        raise ImageError(message)
    right, bottom, left, top = struct.unpack(">IIII", content[start + 8 : start + 24])
    if not content.rstrip(b"\0").endswith(JP2_END):  # OpenJPEG fills the rest with what it has
        message = f"{source}: truncated after {len(content)} bytes: no end of the codestream; {COPY_AGAIN}"
        raise ImageError(message)
    _bound(bottom - top, right - left, content, source)
    return imagecodecs.jpeg2k_decode(content, out=out)


def _bound(height: int, width: int, content: bytes, source: str) -> None:
    if not 0 < height * width <= MAX_PIXELS:
        size = f"{height} x {width} pixels in {len(content)} bytes"
        message = f"{source}: {size}; expected at most {MAX_PIXELS} pixels, and no side of 0"
        raise ImageError(message)
