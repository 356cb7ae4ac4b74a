"""The part `augmentation` of a recipe: how training images are changed at random.

`cellassets.training.augmentation` draws the random numbers.
"""

from typing import Literal

from pydantic import Field

from cellassets.configuration import Parameters, added_field


class Mixing(Parameters):
    """Mixes pairs of images of a batch, and their labels in the same shares.

    `cutmix` puts a rectangle of another image into the image; `mixup` averages both. The share of the image itself is
    drawn from Beta(alpha, alpha).

    Source: Yun et al. 2019, CutMix, equation 1; Zhang et al. 2018, mixup, equation 1.
    """

    kind: Literal["cutmix", "mixup"] = Field(description="How images are mixed")
    alpha: float = Field(
        default=1.0, gt=0, description="Shape of the distribution of shares; 1: all are equally likely"
    )
    image_frac: float = Field(
        default=0.5, gt=0, le=1, description="Share of the images that are mixed with another one"
    )


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
    channel_dropout_frac: float = added_field(
        0.0, ge=0, lt=1, description="Share of the channels that are set to their mean; at least one channel stays"
    )
    mix: Mixing | None = added_field(None, description="How pairs of images are mixed; null: they are not")
    crop_from: Literal["anywhere", "centre"] = added_field(
        "anywhere", description="Where crops are taken from: anywhere at random, or always the centre of the site"
    )
    min_zoom_frac: float = added_field(
        1.0,
        gt=0,
        le=1,
        description=(
            "Smallest side of a crop before it is enlarged, as a share of crop_px: each crop has a random side between "
            "this share and all of it, and is enlarged to crop_px by nearest neighbours; 1: no zoom"
        ),
    )
