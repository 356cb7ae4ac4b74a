"""Files with illumination functions: where they are below an experiment's folder, what is in them, and their checksums.

They are NumPy files, one per plate and channel. `cellassets.images.illumination` divides images by them, and
`cellassets.images.illumination_files` estimates and writes them.
"""

import io
import os
from collections.abc import Iterable
from pathlib import Path

import google_crc32c
import numpy as np
from jaxtyping import Float32
from upath import UPath

from cellassets.errors import ImageError, LayoutError
from cellassets.screens.imaging import Imaging
from cellassets.screens.layouts.folders import find_paths
from cellassets.storage.artifact import is_local
from cellassets.storage.paths import resolve_below

Function = Float32[np.ndarray, "y x"]
HOW = "copy it, estimate it with `cellassets screen illumination`, or set correct_illumination: false"


def with_checksums(imaging: Imaging, folder: UPath, plates: Iterable[str]) -> Imaging:
    """Returns the imaging with the checksum of each plate's functions; unchanged where images are not corrected.

    Args:
        imaging: how the images were taken.
        folder: the experiment's folder.
        plates: the plates whose images are used.

    Raises:
        ImageError: a function is missing or not an array of positive numbers.
    """
    if imaging.illumination is None:
        return imaging
    templates = imaging.illumination
    found = {plate: tuple(read_function(folder, plate, each)[1] for each in templates) for plate in plates}
    return imaging.model_copy(update={"illumination_crc32c": found})


def read_function(folder: UPath, plate_id: str, template: str) -> tuple[Function, int]:
    """Returns an illumination function, and the CRC32C of its file.

    Args:
        folder: the experiment's folder.
        plate_id: the plate.
        template: path of the channel's functions below the folder, with `{plate}` and `*`.

    Raises:
        ImageError: it is missing or not an array of positive numbers.
    """
    path = next(find_paths(folder, _pattern(template, plate_id)), None)
    if path is None:
        message = f"{folder / _pattern(template, plate_id)}: no such illumination function; {HOW}"
        raise ImageError(message)
    content = (folder / path).read_bytes()
    try:
        function = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError) as error:
        message = f"{folder / path}: not a NumPy array ({error}); copy the file again"
        raise ImageError(message) from error
    if function.ndim != 2 or not np.issubdtype(function.dtype, np.floating) or not (function > 0).all():
        message = f"{folder / path}: {function.dtype} {function.shape}; expected two axes of positive numbers"
        raise ImageError(message)
    return np.asarray(function, np.float32), int(google_crc32c.value(content))


def path_of_function(folder: UPath, plate_id: str, template: str) -> UPath:
    """Returns the path of an illumination function, whether it exists or not.

    Args:
        folder: the experiment's folder.
        plate_id: the plate.
        template: path of the channel's functions below the folder; a name with `*` means the folder that exists.

    Raises:
        LayoutError: several folders fit the template, or none does; or a symbolic link leads out of the folder.
        PartitionKeyError: the path leads out of the folder.
    """
    pattern = _pattern(template, plate_id)
    path = resolve_below(folder, next(find_paths(folder, pattern), None) or _without_stars(folder, pattern))
    if is_local(folder) and not Path(os.path.realpath(path.parent.path)).is_relative_to(os.path.realpath(folder.path)):
        message = f"{path.parent}: a symbolic link leads out of {folder}; remove it, or set another illumination_path"
        raise LayoutError(message)
    return path


def is_there(path: UPath) -> bool:
    """Returns true if there is a file, or a symbolic link, even one that leads nowhere."""
    return os.path.lexists(path.path) if is_local(path) else path.exists()


def _pattern(template: str, plate_id: str) -> str:
    return template.replace("{plate}", plate_id)


def _without_stars(folder: UPath, pattern: str) -> str:
    """Returns the path of a file that does not exist yet; each name with `*` is that of the folder that fits it."""
    names = pattern.split("/")
    n_found = max((number for number, name in enumerate(names, start=1) if "*" in name), default=0)
    if not n_found:
        return pattern
    fitting = [path for path in find_paths(folder, "/".join(names[:n_found])) if (folder / path).is_dir()]
    if len(fitting) != 1 or n_found == len(names):
        message = (
            f"{folder}: a new illumination function at {pattern}: {len(fitting)} folders fit "
            f"{'/'.join(names[:n_found])}; expected one. Set illumination_path in experiment.yaml to a path without *"
        )
        raise LayoutError(message)
    return "/".join([fitting[0], *names[n_found:]])
