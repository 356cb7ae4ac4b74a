"""Correction of uneven illumination: an image is divided by its channel's illumination function and rounded.

The functions are files, one per plate and channel. Other software estimated them, as in the Cell Painting Gallery, or
`illumination_files.py` did.

Source: Singh et al. (2014), J. Microsc. 256:231; functions as written by CellProfiler's CorrectIlluminationCalculate.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt
from upath import UPath

from cellassets.errors import ImageError
from cellassets.screens.illumination import read_function
from cellassets.screens.imaging import Imaging
from cellassets.screens.landing import CHECK_AGAIN

Correction = Callable[[int, UInt[np.ndarray, "y x"]], None]


def correction_of(source: UPath, plate_id: str, imaging: Imaging) -> Correction:
    """Returns a function that corrects an image in place, given the number of its channel, from 0.

    Args:
        source: landing folder of the experiment.
        plate_id: the plate.
        imaging: says where the functions are and which checksums they have.

    Raises:
        ImageError: a function is missing, not an array of positive numbers, or changed since the images were checked.
    """
    if imaging.illumination is None:
        return lambda _channel, _image: None
    found = [read_function(source, plate_id, template) for template in imaging.illumination]
    functions = [function for function, _ in found]
    known = (imaging.illumination_crc32c or {}).get(plate_id, ())  # an older manifest has none
    for template, (_, checksum), expected in zip(imaging.illumination, found, known, strict=False):
        if checksum != expected:
            message = (
                f"{source / template.replace('{plate}', plate_id)}: this illumination function changed since it was "
                f"checked; {CHECK_AGAIN}"
            )
            raise ImageError(message)

    def correct(channel: int, image: UInt[np.ndarray, "y x"]) -> None:
        function = functions[channel]
        if function.shape != image.shape:
            message = (
                f"{source}: illumination function of {function.shape} pixels for images of {image.shape} ({plate_id}, "
                f"channel {channel + 1})"
            )
            raise ImageError(message)
        np.clip(np.rint(image / function), 0, np.iinfo(image.dtype).max, out=image, casting="unsafe")

    return correct
