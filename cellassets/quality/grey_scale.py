"""The grey levels of an experiment: where its camera saturates, and how they compare with levels of 8 bits.

Cameras of 10, 12 and 14 bits write files of 16 bits, so the type of the pixels does not say what is bright. Plate
quality and classical features measure on the scale that is found here.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt

SCALE_ENDS = (255, 1023, 4095, 16383, 65535)  # 8, 10, 12, 14 and 16 bits


@dataclass(frozen=True)
class GreyScale:
    """The scale of grey levels of an experiment.

    Attributes:
        top: a pixel of this level, or a higher one, is saturated.
        white: the end of the scale: 255, 1,023, 4,095, 16,383 or 65,535 for cameras of 8 to 16 bits.
    """

    top: int = 255
    white: int = 255

    @classmethod
    def of(cls, dtype: str | np.dtype, top_grey_level: int | None) -> "GreyScale":
        """Returns the scale of an experiment; pixels of 8 bits always end at 255.

        Args:
            dtype: type of the pixels.
            top_grey_level: highest level of the camera or of the experiment's images; None: unknown.
        """
        largest = int(np.iinfo(dtype).max)
        top = min(top_grey_level or largest, largest)
        if largest == SCALE_ENDS[0]:
            return cls(top, largest)
        return cls(top, next((end for end in SCALE_ENDS if end >= top), largest))

    @property
    def unit(self) -> float:
        """How many grey levels are one level of an 8-bit image; 1 for 8-bit images, 257 for a full range of 16 bits."""
        return self.white / SCALE_ENDS[0]

    def in_8_bit_levels(self, image: UInt[np.ndarray, "y x"]) -> Float32[np.ndarray, "y x"]:
        """Returns the image on a scale from 0 to 255, not rounded."""
        return image.astype(np.float32) / np.float32(self.unit)


EIGHT_BITS = GreyScale()
