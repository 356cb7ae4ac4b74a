"""Augmentation: random changes of an image that do not change its biology.

All random numbers of a batch are drawn here, from a generator that the caller seeds. Applying them is deterministic.
Crop, turn and flip are done in one copy of the integer pixels, before the conversion to floats. Gain and offset are
part of the normalisation (`module.py`).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from cellassets.errors import RecipeError
from cellassets.training.recipe import AugmentationParameters, NetworkRecipe, smallest_px


@dataclass(frozen=True)
class Draws:
    """The random numbers of one batch."""

    crop_px: tuple[int, int]
    top_left: Int[np.ndarray, "b 2"]
    n_turns: Int[np.ndarray, "b"]
    is_flipped: Bool[np.ndarray, "b"]
    gain: Float[np.ndarray, "b c"]
    offset: Float[np.ndarray, "b c"]


def crop_size(parameters: AugmentationParameters, height: int, width: int) -> tuple[int, int]:
    """Returns height and width of the crops from sites of that size.

    Raises:
        RecipeError: the crop is larger than the sites, or the recipe has 90-degree turns and the crop is not square.
    """
    size = (height, width) if parameters.crop_px is None else (parameters.crop_px, parameters.crop_px)
    if size[0] > height or size[1] > width:
        message = (
            f"augmentation.crop_px is {parameters.crop_px}, the sites are {height} x {width} pixels: choose a smaller "
            "crop"
        )
        raise RecipeError(message)
    if parameters.has_turns and size[0] != size[1]:
        message = f"sites of {height} x {width} pixels cannot be turned by 90 degrees: set augmentation.crop_px"
        raise RecipeError(message)
    return size


def check_sizes(recipe: NetworkRecipe, height: int, width: int) -> None:
    """Checks that a network can be trained and used on sites of that size.

    Raises:
        RecipeError: a crop is larger than the sites, or the network needs larger images.
    """
    crop = crop_size(recipe.augmentation, height, width)
    centre = recipe.centre_crop_px
    if centre is not None and centre > min(height, width):
        message = f"centre_crop_px is {centre}, the sites are {height} x {width} pixels: choose a smaller crop, or null"
        raise RecipeError(message)
    used = min(*crop, height if centre is None else centre, width if centre is None else centre)
    needed = smallest_px(recipe.backbone)
    if used < needed:
        message = (
            f"backbone {recipe.backbone.family} needs images of at least {needed} x {needed} pixels, this recipe gives "
            f"it a side of {used} from sites of {height} x {width}: choose a larger crop, fewer stages or smaller "
            "patches"
        )
        raise RecipeError(message)


def draw(
    generator: np.random.Generator,
    n: int,
    *,
    parameters: AugmentationParameters,
    site_shape: tuple[int, int, int],
) -> Draws:
    """Returns the random numbers for a batch of `n` sites of shape (channel, y, x)."""
    n_channels, height, width = site_shape
    crop = crop_size(parameters, height, width)
    span = parameters.gain_jitter
    return Draws(
        crop_px=crop,
        top_left=generator.integers(0, [height - crop[0] + 1, width - crop[1] + 1], size=(n, 2)),
        n_turns=generator.integers(0, 4, size=n) * parameters.has_turns,
        is_flipped=(generator.integers(0, 2, size=n) * parameters.has_flips).astype(bool),
        gain=generator.uniform(1 - span, 1 + span, size=(n, n_channels)).astype(np.float32),
        offset=(parameters.offset_jitter * generator.standard_normal((n, n_channels))).astype(np.float32),
    )


def crop_turn_flip(images: Shaped[np.ndarray, "b c y x"], draws: Draws) -> Shaped[np.ndarray, "b c h w"]:
    """Returns the crops, each turned by its number of 90-degree turns and then mirrored left to right or not."""
    height, width = draws.crop_px
    crops = np.empty((*images.shape[:2], height, width), dtype=images.dtype)
    for row, image in enumerate(images):
        top, left = draws.top_left[row]
        view = np.rot90(image[:, top : top + height, left : left + width], draws.n_turns[row], axes=(1, 2))
        crops[row] = view[..., ::-1] if draws.is_flipped[row] else view
    return crops


def centre_crop(images: Shaped[np.ndarray, "b c y x"], crop_px: int | None) -> Shaped[np.ndarray, "b c h w"]:
    """Returns the centres of images, at most `crop_px` high and wide; the images themselves where it is None."""
    if crop_px is None:
        return images
    height, width = (min(crop_px, side) for side in images.shape[-2:])
    top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
    return images[..., top : top + height, left : left + width]
