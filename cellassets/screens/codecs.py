"""Decoding of image files: PNG, TIFF and JPEG 2000, greyscale, 8 or 16 bit. Incomplete files are refused.

imagecodecs decodes because other decoders return zeros or nothing for truncated files. The size that a file claims is
read from its header and bounded first, because decoding allocates what it claims.
"""

import io
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from jaxtyping import Shaped

from cellassets.errors import ImageError

MAX_PIXELS = 1 << 26  # 8,192 x 8,192
COPY_AGAIN = "copy the file again"
GREYSCALE = "save one greyscale image per channel and plane"
EXPECTED = "expected a greyscale PNG, TIFF or JPEG 2000"
PNG_FORM = slice(16, 26)  # width, height, bits and colour type in the first chunk. Source: PNG, 11.2.2 IHDR
PNG_GREYSCALE = 0
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_END = b"IEND\xaeB`\x82"
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
JP2_SIGNATURES = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
JP2_START = b"\xff\x4f\xff\x51"  # start of codestream and of the SIZ segment. Source: ISO/IEC 15444-1, annex A
JP2_END = b"\xff\xd9"
JP2_FORM = struct.Struct(">8xIIII16xH")  # edges of the image and number of components in it. Source: annex A.5.1
JP2_BOX = b"jp2c"  # holds the codestream. Source: ISO/IEC 15444-1, annex I
TIFF_BLACK_IS_ZERO = 1  # PhotometricInterpretation. Source: TIFF 6.0, section 4
Pixels = Shaped[np.ndarray, "y x"]


@dataclass(frozen=True)
class Page:
    """One page of a TIFF: its number, from 0, and how many pages the file must have; None for any number."""

    number: int
    n_pages: int | None = None


def decode_image(content: bytes, *, source: str, page: Page | None = None, out: Pixels | None = None) -> Pixels:
    """Returns the pixels of a greyscale image, 8 or 16 bit, in the grey levels of the file.

    Args:
        content: bytes of the file.
        source: name of the file in error messages.
        page: the page of a TIFF; None if it must have one page.
        out: array that receives the pixels; a new array by default.

    Raises:
        ImageError: the file is empty, truncated, damaged, of another format, too large, or not greyscale.
    """
    if not content:
        message = f"{source}: empty file; {EXPECTED}; {COPY_AGAIN}"
        raise ImageError(message)
    decode = _decoder_of(content)
    if decode is None or (page is not None and decode is not _decode_tiff):
        what = "not an image" if decode is None else "has one page"
        expected = f"{EXPECTED}; {COPY_AGAIN}" if decode is None else "expected a TIFF with one page per channel"
        message = f"{source}: {what} (starts with {content[:8]!r}); {expected}"
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
        message = f"{source}: shape {pixels.shape}; expected greyscale; {GREYSCALE}"
        raise ImageError(message)
    if pixels.dtype not in (np.uint8, np.uint16):
        message = f"{source}: pixels of {pixels.dtype}; expected 8 or 16 bit without sign; {GREYSCALE}"
        raise ImageError(message)
    return pixels


def _decoder_of(content: bytes) -> "Callable[[bytes, str, Page | None, Pixels | None], Pixels] | None":
    if content.startswith(PNG_SIGNATURE):
        return _decode_png
    if content.startswith(TIFF_SIGNATURES):
        return _decode_tiff
    if content.startswith(JP2_SIGNATURES):
        return _decode_jp2
    return None


def _decode_png(content: bytes, source: str, _page: Page | None, out: Pixels | None) -> Pixels:
    if content.rfind(PNG_END) < 0:  # some cameras append data of their own
        message = f"{source}: truncated after {len(content)} bytes: a PNG ends with IEND; {COPY_AGAIN}"
        raise ImageError(message)
    if len(content) < PNG_FORM.stop:
        message = f"{source}: {len(content)} bytes without an image; {COPY_AGAIN}"
        raise ImageError(message)
    width, height, bits, colour = struct.unpack(">IIBB", content[PNG_FORM])
    _bound(height, width, content, source)
    if colour != PNG_GREYSCALE or bits not in (8, 16):
        what = f"{bits} bit" if colour == PNG_GREYSCALE else "in colour, with transparency or with a palette"
        message = f"{source}: a PNG {what}; expected greyscale, 8 or 16 bit; {GREYSCALE}"
        raise ImageError(message)
    return imagecodecs.png_decode(content, out=out)


def _decode_tiff(content: bytes, source: str, page: Page | None, out: Pixels | None) -> Pixels:
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # damage is an error here, not a line in a log
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as tiff:
            n_pages = len(tiff.pages)
            number = _page_number(n_pages, page, source)
            form: Any = tiff.pages[number]
            shape, photometric = form.shape, form.photometric
            tile = form.tilelength, form.tilewidth
    except (tifffile.TiffFileError, struct.error, IndexError, KeyError, TypeError) as error:
        message = f"{source}: damaged TIFF of {len(content)} bytes ({error}); {COPY_AGAIN}"
        raise ImageError(message) from error
    if len(shape) != 2:
        message = f"{source}: shape {shape}; expected greyscale; {GREYSCALE}"
        raise ImageError(message)
    _bound(shape[0], shape[1], content, source)
    if form.is_tiled:
        _bound(*tile, content, source)
    if photometric != TIFF_BLACK_IS_ZERO:
        found = getattr(photometric, "name", photometric)
        message = f"{source}: a TIFF with the photometric interpretation {found}; expected MINISBLACK; {GREYSCALE}"
        raise ImageError(message)
    return imagecodecs.tiff_decode(content, index=number, out=out)


def _page_number(n_pages: int, page: Page | None, source: str) -> int:
    """Returns the number, from 0, of the wanted page; raises an ImageError if there are other pages than expected."""
    if n_pages == 0:
        message = f"{source}: a TIFF without an image; {COPY_AGAIN}"
        raise ImageError(message)
    if page is None and n_pages > 1:
        message = f"{source}: {n_pages} pages; expected one image per file, or set `pages: channel` in the layout"
        raise ImageError(message)
    if page is not None and (page.number >= n_pages or n_pages != (page.n_pages or n_pages)):
        expected = f"page {page.number + 1}" if page.n_pages is None else f"{page.n_pages}, one per channel"
        message = f"{source}: {n_pages} pages; expected {expected}; correct `channels` of the layout, or {COPY_AGAIN}"
        raise ImageError(message)
    return 0 if page is None else page.number


def _decode_jp2(content: bytes, source: str, _page: Page | None, out: Pixels | None) -> Pixels:
    start = 0 if content.startswith(JP2_START) else content.find(JP2_START, _codestream_box(content))
    if start < 0 or len(content) < start + JP2_FORM.size:
        message = f"{source}: truncated after {len(content)} bytes: no JPEG 2000 image in it; {COPY_AGAIN}"
        raise ImageError(message)
    right, bottom, left, top, n_components = JP2_FORM.unpack_from(content, start)
    if not content.rstrip(b"\0").endswith(JP2_END):  # OpenJPEG fills the rest with what it has
        message = f"{source}: truncated after {len(content)} bytes: no end of the codestream; {COPY_AGAIN}"
        raise ImageError(message)
    _bound(bottom - top, right - left, content, source)
    if n_components != 1:
        message = f"{source}: a JPEG 2000 with {n_components} components; expected greyscale; {GREYSCALE}"
        raise ImageError(message)
    return imagecodecs.jpeg2k_decode(content, out=out)


def _codestream_box(content: bytes) -> int:
    """Returns where the box with the codestream begins: a box before it can hold what looks like one.

    Source: ISO/IEC 15444-1, annex I.4: length, type, and the length again in eight bytes if the first one is 1.
    """
    position = 0
    while position + 16 <= len(content) and content[position + 4 : position + 8] != JP2_BOX:
        (length,) = struct.unpack_from(">I", content, position)
        if length == 1:
            (length,) = struct.unpack_from(">Q", content, position + 8)
        if length < 8:  # the last box, or no box
            break
        position += length
    return position


def _bound(height: int, width: int, content: bytes, source: str) -> None:
    if not 0 < height * width <= MAX_PIXELS:
        size = f"{height} x {width} pixels in {len(content)} bytes"
        message = f"{source}: {size}; expected at most {MAX_PIXELS} pixels, and no side of 0; {COPY_AGAIN}"
        raise ImageError(message)
