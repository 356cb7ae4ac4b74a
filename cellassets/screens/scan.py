"""Every image of an experiment read once: size, checksum, shape, type, and whether it is whole."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import google_crc32c
from upath import UPath

from cellassets.errors import ImageError
from cellassets.progress import Progress
from cellassets.screens.codecs import decode_png
from cellassets.screens.layout import ImageFile, image_path

REPORT_EVERY = 200


@dataclass(frozen=True)
class ScannedImage:
    """One image file as it was found. `height`, `width` are 0 and `dtype` is "unreadable" where `error` says why."""

    file: ImageFile
    n_bytes: int
    crc32c: int
    height: int
    width: int
    dtype: str
    is_constant: bool
    error: str | None


def scan_images(folder: UPath, files: Sequence[ImageFile], *, n_threads: int, progress: Progress) -> list[ScannedImage]:
    """Returns what is in each file, in the order of `files`; no pixels are kept."""
    scanned = []
    with ThreadPoolExecutor(n_threads) as pool:
        for image in pool.map(lambda file: scan_image(folder, file), files):
            scanned.append(image)
            if len(scanned) % REPORT_EVERY == 0 or len(scanned) == len(files):
                progress(len(scanned), len(files), "images checked")
    return scanned


def scan_image(folder: UPath, file: ImageFile) -> ScannedImage:
    """Returns what is in one file."""
    try:
        content = image_path(folder, file.path).read_bytes()
    except OSError as error:
        return ScannedImage(file, 0, 0, 0, 0, "unreadable", is_constant=False, error=f"{file.path}: {error}")
    checksum = google_crc32c.value(content)
    try:
        pixels = decode_png(content, source=file.path)
    except ImageError as error:
        return ScannedImage(file, len(content), checksum, 0, 0, "unreadable", is_constant=False, error=str(error))
    is_constant = bool(pixels.min() == pixels.max())
    height, width = pixels.shape
    return ScannedImage(file, len(content), checksum, height, width, str(pixels.dtype), is_constant, None)


def usual_form(images: Sequence[ScannedImage]) -> tuple[int, int, str] | None:
    """Returns height, width and dtype that most readable images have; None where none is readable."""
    forms = Counter((image.height, image.width, image.dtype) for image in images if image.error is None)
    return max(forms, key=lambda form: (forms[form], form)) if forms else None
