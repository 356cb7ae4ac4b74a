"""Labelled objects of one site, with the pixel lists that several feature families share.

Made by `site.py`; read by the modules of the families. Images do not belong here.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int, Int32


@dataclass(frozen=True)
class Objects:
    """Objects in an image.

    Attributes:
        labels: one number per pixel: 0 outside objects; objects are numbered from 1 without gaps.
    """

    labels: Int32[np.ndarray, "y x"]

    @cached_property
    def n_objects(self) -> int:
        """Number of objects."""
        return int(self.labels.max())

    @cached_property
    def pixels(self) -> Int[np.ndarray, "pixel"]:
        """Flat positions of the pixels of all objects: first those of object 1, then of object 2 and so on."""
        inside = np.flatnonzero(self.labels)
        labels = self.labels.ravel()[inside]
        if self.n_objects < 1 << 16:
            labels = labels.astype(np.uint16)  # numpy sorts these by radix, 5 times as fast
        return inside[np.argsort(labels, kind="stable")]

    @cached_property
    def owner(self) -> Int[np.ndarray, "pixel"]:
        """0-based object of each entry of `pixels`."""
        return self.labels.ravel()[self.pixels].astype(np.intp) - 1

    @cached_property
    def coordinates(self) -> tuple[Int[np.ndarray, "pixel"], Int[np.ndarray, "pixel"]]:
        """Row and column of each entry of `pixels`."""
        return np.divmod(self.pixels, self.labels.shape[1])

    @cached_property
    def areas(self) -> Int[np.ndarray, "object"]:
        """Number of pixels per object."""
        return np.bincount(self.owner, minlength=self.n_objects)

    @cached_property
    def starts(self) -> Int[np.ndarray, "object"]:
        """Where each object's entries of `pixels` start."""
        return np.cumsum(self.areas) - self.areas
