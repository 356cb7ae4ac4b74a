"""Image files: decoding that refuses what is not whole.

imagecodecs is used because other decoders hand back zeros or nothing for files that are cut off.
"""

import imagecodecs
import numpy as np
from jaxtyping import Shaped

from cellassets.errors import ImageError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_END = b"IEND\xaeB`\x82"


def decode_png(
    content: bytes, *, source: str, out: Shaped[np.ndarray, "y x"] | None = None
) -> Shaped[np.ndarray, "y x"]:
    """Returns the pixels of a greyscale PNG, 8 or 16 bit.

    Args:
        content: the file's bytes.
        source: what to call it in an error.
        out: where to write them; a new array by default.

    Raises:
        ImageError: it is empty, cut off, no PNG, or not greyscale.
    """
    if not content:
        message = f"{source}: empty file; expected a PNG"
        raise ImageError(message)
    if not content.startswith(PNG_SIGNATURE):
        message = f"{source}: no PNG (starts with {content[:8]!r})"
        raise ImageError(message)
    if PNG_END not in content[-64:]:
        message = f"{source}: cut off after {len(content)} bytes: a PNG ends with IEND; copy it again"
        raise ImageError(message)
    try:
        pixels = imagecodecs.png_decode(content, out=out)
    except (imagecodecs.PngError, ValueError) as error:
        message = f"{source}: damaged PNG of {len(content)} bytes ({error}); copy it again"
        raise ImageError(message) from error
    if pixels.ndim != 2:
        message = f"{source}: {pixels.shape[-1]} samples a pixel; expected greyscale, one file a channel"
        raise ImageError(message)
    return pixels
