"""The part `augmentation` of a recipe: how training images are changed at random.

`cellassets.training.augmentation` draws the random numbers.
"""

from pydantic import Field

from cellassets.configuration import Parameters


class AugmentationParameters(Parameters):
    """Random changes of an image that do not change its biology.

    Gain and offset change every normalised channel independently: z -> z * U(1 - gain, 1 + gain) + N(0, offset).
    """

    crop_px: int | None = Field(default=None, ge=16, description="Side of random crops in pixels; null: the whole site")
    has_flips: bool = Field(default=True, description="Whether images are mirrored at random")
    has_turns: bool = Field(default=True, description="Whether images are rotated at random by quarter turns")
    gain_jitter: float = Field(default=0.0, ge=0, lt=1, description="Largest relative change of a channel's contrast")
    offset_jitter: float = Field(
        default=0.0, ge=0, description="Standard deviation of the shift of a channel, in normalised grey levels"
    )
