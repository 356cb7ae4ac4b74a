"""Which images a model from elsewhere gets: channels, types of pixels, scale and size.

`preprocessing.py` prepares the images. Light to import.
"""

from typing import Literal

from pydantic import Field, model_validator

from cellassets.configuration import Parameters
from cellassets.errors import EncoderError

PixelType = Literal["uint8", "uint16"]
Normalisation = Literal["site", "plate", "fixed"]
SizeKind = Literal["as_is", "centre_crop", "resize"]
ASPECT_TOLERANCE = 0.01


class FixedScale(Parameters):
    """z = (x / divide_by - mean) / std, the same for every site."""

    divide_by: float = Field(
        default=255.0, gt=0, description="What grey levels are divided by; 1 leaves them unchanged"
    )
    mean: tuple[float, ...] = Field(default=(0.0,), min_length=1, description="One number, or one per channel")
    std: tuple[float, ...] = Field(default=(1.0,), min_length=1, description="One number, or one per channel; not 0")


class Input(Parameters):
    """Which images the model gets. Either `channels` or `n_channels` is given."""

    channels: tuple[str | tuple[str, ...], ...] | None = Field(
        default=None,
        min_length=1,
        description="Names of the channels in the order that the model wants. A list in place of a name has other "
        "names of the same channel, such as [DNA, Hoechst]. Other channels of an experiment are not used",
    )
    n_channels: int | None = Field(
        default=None, ge=1, description="Number of channels; an experiment must have this number, with any names"
    )
    pixel_types: tuple[PixelType, ...] | None = Field(
        default=None,
        description="Types of pixels that the model takes. null: uint8 and uint16, but only uint8 with `fixed`, "
        "because the grey levels of 16 bits end at different values",
    )
    normalisation: Normalisation = Field(
        default="site",
        description="`site` or `plate`: z = (x - mean) / std of each channel over the whole site or its plate; "
        "`fixed`: by the numbers in `scale`",
    )
    scale: FixedScale = Field(default=FixedScale(), description="The numbers of `fixed`")
    size: SizeKind = Field(
        default="as_is",
        description="`as_is`: the whole site; `centre_crop`: its centre; `resize`: the whole site, made smaller or "
        "larger (bilinear, with antialiasing)",
    )
    height_px: int | None = Field(default=None, ge=1, description="Height after `centre_crop` or `resize`")
    width_px: int | None = Field(default=None, ge=1, description="Width after `centre_crop` or `resize`")
    least_px: int = Field(
        default=32, ge=1, description="`as_is`: shortest side of a site that the model takes. The trial run has it"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "Input":
        problem = next(filter(None, (self._of_channels(), self._of_scale(), self._of_size())), None)
        if problem:
            raise ValueError(problem)
        return self

    @property
    def n_used(self) -> int:
        """Number of channels that the model gets."""
        return len(self.channels) if self.channels is not None else int(self.n_channels or 0)

    @property
    def types(self) -> tuple[str, ...]:
        """Types of pixels that the model takes."""
        if self.pixel_types is not None:
            return self.pixel_types
        return ("uint8",) if self.normalisation == "fixed" else ("uint8", "uint16")

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width that the model gets; for `as_is` the smallest."""
        return (self.height_px or self.least_px, self.width_px or self.least_px)

    def positions(self, present: tuple[str, ...]) -> list[int]:
        """Returns where the model's channels are among those of an experiment, in the model's order.

        Args:
            present: names of the experiment's channels, in order.

        Raises:
            EncoderError: a channel is missing or ambiguous, or their number differs.
        """
        if self.channels is None:
            if len(present) != self.n_channels:
                message = f"it takes {self.n_channels} channels, found {len(present)} ({', '.join(present)})"
                raise EncoderError(message)
            return list(range(len(present)))
        return [_position(wanted, present) for wanted in self.channels]

    def check_size(self, height: int, width: int) -> None:
        """Checks that sites of this size fit.

        Raises:
            EncoderError: they are too small, or would be distorted.
        """
        found, (tall, wide) = f"sites of {height} x {width} pixels", self.size_px
        if self.size == "resize":
            if abs(height * wide - width * tall) > ASPECT_TOLERANCE * height * wide:
                message = f"{found} would be distorted by `resize` to {tall} x {wide}; use centre_crop"
                raise EncoderError(message)
        elif height < tall or width < wide:
            message = f"{found} are too small: `{self.size}` needs at least {tall} x {wide}; use another model"
            raise EncoderError(message)

    def _of_channels(self) -> str | None:
        if (self.channels is None) == (self.n_channels is None):
            return "expected either channels or n_channels, and not both"
        names = [name for entry in self.channels or () for name in ((entry,) if isinstance(entry, str) else entry)]
        if len({_plain(name) for name in names}) < len(names) or not all(_plain(name) for name in names):
            return f"channels: a name is empty or listed twice in {', '.join(names)}"
        return None

    def _of_scale(self) -> str | None:
        if self.normalisation != "fixed" and self.scale != FixedScale():
            return f"scale is for normalisation: fixed, found {self.normalisation}"
        for name, values in (("mean", self.scale.mean), ("std", self.scale.std)):
            if len(values) not in (1, self.n_used):
                return f"scale.{name} has {len(values)} numbers; expected 1, or one per channel ({self.n_used})"
        return "scale.std: 0 is not a standard deviation" if 0 in self.scale.std else None

    def _of_size(self) -> str | None:
        has_size = (self.height_px is not None, self.width_px is not None)
        if self.size == "as_is":
            return (
                "height_px and width_px are for centre_crop and resize; as_is has least_px" if any(has_size) else None
            )
        return None if all(has_size) else f"size: {self.size} needs height_px and width_px"


def _position(wanted: str | tuple[str, ...], present: tuple[str, ...]) -> int:
    """Where a channel is; letter case and blanks at the ends do not count."""
    names = (wanted,) if isinstance(wanted, str) else wanted
    found = [place for place, name in enumerate(present) if _plain(name) in {_plain(one) for one in names}]
    if len(found) != 1:
        what = "is missing" if not found else "is there more than once"
        message = f"its channel {' or '.join(names)} {what} among {', '.join(present)}"
        raise EncoderError(message)
    return found[0]


def _plain(name: str) -> str:
    return name.strip().casefold()
