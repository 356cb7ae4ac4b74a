"""Decoding of image files; incomplete files are refused.

imagecodecs is used because other decoders return zeros or nothing for truncated files.
"""

import imagecodecs
import numpy as np
from jaxtyping import Shaped

from cellassets.errors import ImageError

MAX_PIXELS = 1 << 26  # 8,192 x 8,192; a small file can claim any size, and decoding allocates what it claims
PNG_SIZE = slice(16, 24)  # width and height in the first chunk. Source: PNG specification, 11.2.2 IHDR
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_END = b"IEND\xaeB`\x82"


def decode_png(
    content: bytes, *, source: str, out: Shaped[np.ndarray, "y x"] | None = None
) -> Shaped[np.ndarray, "y x"]:
    """Returns the pixels of a greyscale PNG, 8 or 16 bit.

    Args:
        content: bytes of the file.
        source: name of the file in error messages.
        out: array that receives the pixels; a new array by default.

    Raises:
        ImageError: the file is empty, truncated, damaged, not a PNG, too large, or not greyscale.
    """
    if not content:
        message = f"{source}: empty file; expected a PNG"
        raise ImageError(message)
    if not content.startswith(PNG_SIGNATURE):
        message = f"{source}: not a PNG (starts with {content[:8]!r}); expected a greyscale PNG"
        raise ImageError(message)
    if content.rfind(PNG_END) < 0:  # some cameras append data of their own
        message = f"{source}: truncated after {len(content)} bytes: a PNG ends with IEND; copy the file again"
        raise ImageError(message)
    size = content[PNG_SIZE]
    width, height = int.from_bytes(size[:4], "big"), int.from_bytes(size[4:], "big")
    if width * height > MAX_PIXELS:
        message = f"{source}: {height} x {width} pixels in {len(content)} bytes; expected at most {MAX_PIXELS} pixels"
        raise ImageError(message)
    try:
        pixels = imagecodecs.png_decode(content, out=out)
    except (imagecodecs.PngError, ValueError) as error:
        message = f"{source}: damaged PNG of {len(content)} bytes ({error}); copy the file again"
        raise ImageError(message) from error
    if pixels.ndim != 2:
        message = f"{source}: {pixels.shape[-1]} samples per pixel; expected greyscale, one file per channel"
        raise ImageError(message)
    return pixels
