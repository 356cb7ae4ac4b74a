"""Correction of uneven illumination: an image is divided by its channel's illumination function and rounded.

The functions are NumPy files that other software estimated, one per plate and channel, as in the Cell Painting Gallery.

Source: Singh et al. (2014), J. Microsc. 256:231; functions as written by CellProfiler's CorrectIlluminationCalculate.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, UInt
from upath import UPath

from cellassets.errors import ImageError
from cellassets.screens.layouts.folders import find_paths

Correction = Callable[[int, UInt[np.ndarray, "y x"]], None]


def correction_of(source: UPath, plate_id: str, templates: Sequence[str] | None) -> Correction:
    """Returns a function that corrects an image in place, given the number of its channel, from 0.

    Args:
        source: landing folder of the experiment.
        plate_id: the plate.
        templates: paths of the functions below the folder, one per channel, with `{plate}` and `*`; None for none.

    Raises:
        ImageError: a function is missing or not an array of positive numbers.
    """
    if templates is None:
        return lambda _channel, _image: None
    functions = [_read(source, template.replace("{plate}", plate_id)) for template in templates]

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


def _read(source: UPath, pattern: str) -> Float[np.ndarray, "y x"]:
    path = next(find_paths(source, pattern), None)
    if path is None:
        message = f"{source / pattern}: no such illumination function; copy it, or set correct_illumination: false"
        raise ImageError(message)
    try:
        function = np.load(io.BytesIO((source / path).read_bytes()), allow_pickle=False)
    except (ValueError, EOFError) as error:
        message = f"{source / path}: not a NumPy array ({error}); copy the file again"
        raise ImageError(message) from error
    if function.ndim != 2 or not np.issubdtype(function.dtype, np.floating) or not (function > 0).all():
        message = f"{source / path}: {function.dtype} {function.shape}; expected two axes of positive numbers"
        raise ImageError(message)
    return np.asarray(function, np.float32)
