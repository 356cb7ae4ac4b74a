"""How the images of an experiment were taken: channels and their stains, pixel size, and the camera's highest level.

The layout of the experiment declares it, `raw_plates` publishes it, and the image store carries it to every later
stage. So the DNA channel of one experiment can be another one than that of the next.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field, model_validator

from cellassets.configuration import Parameters

DNA_STAIN = re.compile(r"hoechst|dapi|draq|h3334|h3325|(?<![a-z])(dna|nuclei|nucleus|nuclear)(?![a-z])", re.IGNORECASE)


class Imaging(Parameters):
    """How the images of one experiment were taken.

    Attributes:
        channel_names: names of the channels, in the order of the store.
        dna_channel: name of the channel with the DNA stain; null: the first one that is named after a DNA stain.
        pixel_size_um: width of a pixel in micrometres; null: unknown.
        top_grey_level: the highest level that the camera gives, such as 4,095 for 12 bits, or the highest one that was
            found; null: unknown.
        illumination: template of each channel's illumination function, by which its images were divided; null: they
            are as the camera gave them.
        illumination_crc32c: CRC32C of the functions' files by plate, one per channel; null: not corrected, or checked
            before checksums were kept.
        z_projection: how the planes of a site became one image; null: there was one plane.
    """

    channel_names: tuple[str, ...]
    dna_channel: str | None = None
    pixel_size_um: float | None = Field(default=None, gt=0)
    top_grey_level: int | None = Field(default=None, gt=0)
    illumination: tuple[str, ...] | None = None
    illumination_crc32c: Mapping[str, tuple[int, ...]] | None = None
    z_projection: Literal["maximum", "mean", "middle"] | None = None

    @model_validator(mode="after")
    def _names_agree(self) -> "Imaging":
        if self.dna_channel is not None and self.dna_channel not in self.channel_names:
            message = f"dna_channel is {self.dna_channel!r}; the channels are {', '.join(self.channel_names)}"
            raise ValueError(message)
        return self

    @property
    def dna_index(self) -> int | None:
        """Number, from 0, of the channel with the DNA stain; None if none is declared or named after one."""
        if self.dna_channel is not None:
            return self.channel_names.index(self.dna_channel)
        return dna_channel(self.channel_names)


def dna_channel(channel_names: Sequence[str]) -> int | None:
    """Returns the number, from 0, of the first channel that is named after a DNA stain; None if there is none."""
    return next((index for index, name in enumerate(channel_names) if DNA_STAIN.search(name)), None)
