"""Scan of image files: every image is read once for its size, checksum, shape and type, and for damage."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from upath import UPath

from cellassets.errors import ImageError, StorageRefused
from cellassets.progress import Progress
from cellassets.screens.landed import ImageFile
from cellassets.screens.planes import checksum_of, decode_content, read_content, size_of

BATCHES_PER_THREAD = 8
MAX_BATCH = 64  # images that a thread takes at once: handing over one costs more than reading a small one


@dataclass(frozen=True)
class ScannedImage:
    """What was found in one image file.

    Two images are copies of each other if `n_bytes` and `same_as` are equal: the checksum of the file, or that of the
    pixels where a file holds several images. Where the image cannot be read, `error` says why, `height` and `width`
    are 0 and `dtype` is "unreadable".
    """

    file: ImageFile
    n_bytes: int
    crc32c: int
    height: int
    width: int
    dtype: str
    maximum: int
    n_at_maximum: int
    is_constant: bool
    same_as: int
    error: str | None


def scan_images(folder: UPath, files: Sequence[ImageFile], *, n_threads: int, progress: Progress) -> list[ScannedImage]:
    """Returns what was found in each file, in the order of `files`; pixels are not kept.

    Args:
        folder: the experiment's landing folder.
        files: the files to read.
        n_threads: threads that read and decode.
        progress: receives the number of images checked.
    """
    scanned: list[ScannedImage] = []
    size = min(MAX_BATCH, -(-len(files) // (n_threads * BATCHES_PER_THREAD)) or 1)
    batches = [files[start : start + size] for start in range(0, len(files), size)]
    with ThreadPoolExecutor(n_threads) as pool:
        for images in pool.map(lambda batch: [scan_image(folder, file) for file in batch], batches):
            scanned += images
            progress(len(scanned), len(files), "images checked")
    return scanned


def scan_image(folder: UPath, file: ImageFile) -> ScannedImage:
    """Returns what was found in one file.

    Raises:
        ConnectionError: the object store does not answer.
        StorageRefused: the object store does not let us read.
    """
    try:
        content = read_content(folder, file.path, file.part)
    except ImageError as error:
        return _unreadable(file, str(error))
    except (ConnectionError, StorageRefused):  # says nothing about the image
        raise
    except OSError as error:
        return _unreadable(file, f"{file.path}: {error}")
    n_bytes, checksum = size_of(content), checksum_of(content)
    try:
        pixels = decode_content(content, file.part, source=file.shown_path)
    except ImageError as error:
        return replace(_unreadable(file, str(error)), n_bytes=n_bytes, crc32c=checksum)
    height, width = pixels.shape
    maximum = int(pixels.max())
    n_at_maximum = int(np.count_nonzero(pixels == maximum))
    is_constant = int(pixels.min()) == maximum
    is_page = file.part is not None and file.part.startswith("page ")
    return ScannedImage(
        file, n_bytes, checksum, height, width, pixels.dtype.name, maximum, n_at_maximum, is_constant,
        same_as=checksum_of(pixels) if is_page else checksum, error=None,
    )  # fmt: skip


def _unreadable(file: ImageFile, error: str) -> ScannedImage:
    return ScannedImage(
        file, 0, 0, 0, 0, "unreadable", maximum=0, n_at_maximum=0, is_constant=False, same_as=0, error=error
    )


def usual_form(images: Sequence[ScannedImage]) -> tuple[int, int, str] | None:
    """Returns height, width and dtype of most readable images; None where no image is readable."""
    forms = Counter((image.height, image.width, image.dtype) for image in images if image.error is None)
    return max(forms, key=lambda form: (forms[form], form)) if forms else None
