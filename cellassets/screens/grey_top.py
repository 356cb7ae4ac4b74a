"""The highest grey level of an experiment's camera: declared, or found where images are clipped.

A hot pixel or a cosmic ray gives one pixel of one image a level that the camera never gives to cells. So a level counts
as the top if many pixels of one image have it, as they have in an image that is clipped.
"""

from collections.abc import Sequence

from cellassets.errors import LayoutError
from cellassets.screens.imaging import Imaging
from cellassets.screens.scan import ScannedImage

MIN_CLIPPED = 8  # pixels, and at least
CLIPPED_FRAC = 1e-4  # of the pixels of an image have the level at which it is clipped
MAX_HOT_FRAC = 0.05  # of the images may have pixels above the declared level


def with_top(imaging: Imaging, scanned: Sequence[ScannedImage], *, declared_in: str) -> Imaging:
    """Returns the imaging with the highest grey level: as declared, or else as found in the experiment.

    Found is the highest level at which an image is clipped; if none is, the highest level of all. Images of 8 bits have
    no room above the camera's top, so there the highest level counts.

    Args:
        imaging: how the images were taken.
        scanned: what was found in the images.
        declared_in: the file with the declared level, for the message.

    Raises:
        LayoutError: many images have levels above the declared one.
    """
    if imaging.top_grey_level is not None:
        _refuse_if_too_low(imaging.top_grey_level, scanned, declared_in)
        return imaging
    clipped = [image.maximum for image in scanned if image.dtype != "uint8" and _is_clipped(image)]
    found = max(clipped or [image.maximum for image in scanned], default=0) or None
    return imaging.model_copy(update={"top_grey_level": found})


def _is_clipped(image: ScannedImage) -> bool:
    return not image.is_constant and image.n_at_maximum >= max(MIN_CLIPPED, CLIPPED_FRAC * image.height * image.width)


def _refuse_if_too_low(declared: int, scanned: Sequence[ScannedImage], declared_in: str) -> None:
    above = [image for image in scanned if image.maximum > declared]
    if len(above) <= MAX_HOT_FRAC * len(scanned):
        return
    brightest = max(above, key=lambda image: image.maximum)
    message = (
        f"{declared_in}: top_grey_level is {declared}, but {len(above)} of {len(scanned)} images have higher levels, "
        f"such as {brightest.file.shown_path} with {brightest.maximum}; write the camera's highest level, such as 4095 "
        "for 12 bits"
    )
    raise LayoutError(message)
