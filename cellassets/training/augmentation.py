"""Augmentation: random changes of an image that do not change its biology.

All random numbers of a batch are drawn here, from a generator that the caller seeds. Applying them is deterministic.
Crop, turn and flip are done in one copy of the integer pixels, before the conversion to floats. Gain, offset and
channels that are left out are part of the normalisation, and images are mixed after it (`module.py`).
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from cellassets.errors import RecipeError
from cellassets.training.recipe import AugmentationParameters, Mixing, NetworkRecipe, smallest_px


@dataclass(frozen=True)
class Draws:
    """The random numbers of one batch.

    `is_kept` says which channels are not left out. `partner` and `own_share` are None if images are not mixed.
    `window_px` is the size that a crop has before it is enlarged to `crop_px`; None if crops are not enlarged.
    """

    crop_px: tuple[int, int]
    top_left: Int[np.ndarray, "b 2"]
    n_turns: Int[np.ndarray, "b"]
    is_flipped: Bool[np.ndarray, "b"]
    gain: Float[np.ndarray, "b c"]
    offset: Float[np.ndarray, "b c"]
    is_kept: Bool[np.ndarray, "b c"] | None = None
    partner: Int[np.ndarray, "own"] | None = None
    own_share: Float[np.ndarray, "own 1 y x"] | None = None
    window_px: Int[np.ndarray, "b 2"] | None = None

    def of(self, rows: Int[np.ndarray, "own"]) -> "Draws":
        """Returns the numbers of some images of the batch, which are then not mixed."""
        return Draws(
            crop_px=self.crop_px,
            top_left=self.top_left[rows],
            n_turns=self.n_turns[rows],
            is_flipped=self.is_flipped[rows],
            gain=self.gain[rows],
            offset=self.offset[rows],
            is_kept=None if self.is_kept is None else self.is_kept[rows],
            window_px=None if self.window_px is None else self.window_px[rows],
        )


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
    # the order of the calls is part of the numbers: what is newer is drawn later
    draws = Draws(
        crop_px=crop,
        top_left=generator.integers(0, [height - crop[0] + 1, width - crop[1] + 1], size=(n, 2)),
        n_turns=generator.integers(0, 4, size=n) * parameters.has_turns,
        is_flipped=(generator.integers(0, 2, size=n) * parameters.has_flips).astype(bool),
        gain=generator.uniform(1 - span, 1 + span, size=(n, n_channels)).astype(np.float32),
        offset=(parameters.offset_jitter * generator.standard_normal((n, n_channels))).astype(np.float32),
    )
    if parameters.channel_dropout_frac:
        draws = replace(draws, is_kept=_kept_channels(generator, (n, n_channels), parameters.channel_dropout_frac))
    if parameters.mix is not None:
        partner, own_share = draw_mix(generator, n, parameters=parameters.mix, size=crop)
        draws = replace(draws, partner=partner, own_share=own_share)
    if parameters.min_zoom_frac < 1:
        draws = _zoomed(draws, generator, parameters.min_zoom_frac, (height, width))
    if parameters.crop_from == "centre":
        window = np.array(crop) if draws.window_px is None else draws.window_px
        draws = replace(draws, top_left=np.broadcast_to((np.array([height, width]) - window) // 2, (n, 2)))
    return draws


def _zoomed(draws: Draws, generator: np.random.Generator, least_frac: float, site_px: tuple[int, int]) -> Draws:
    """The draws with crops of random sizes, anywhere in the sites."""
    frac = generator.uniform(least_frac, 1, size=(len(draws.top_left), 1))
    window = np.maximum(np.rint(frac * draws.crop_px), 1).astype(np.int64)
    return replace(draws, window_px=window, top_left=generator.integers(0, np.array(site_px) - window + 1))


def draw_mix(
    generator: np.random.Generator, n: int, *, parameters: Mixing, size: tuple[int, int]
) -> tuple[Int[np.ndarray, "b"], Float[np.ndarray, "b 1 y x"]]:
    """Returns, for each image of a batch, the image that it is mixed with and its own share of every pixel.

    The share is 1 everywhere for images that are not mixed. For `mixup` it is one number per image. For `cutmix` it is
    0 in a rectangle with the sides sqrt(1 - share) of the image, whose centre is anywhere and which is cut at the
    borders, and 1 outside. So the mean over pixels is the share of the image's own label.

    Source: Yun et al. 2019, CutMix, equation 2 and the authors' code for the borders; Zhang et al. 2018, mixup.
    """
    partner = generator.permutation(n)
    share = generator.beta(parameters.alpha, parameters.alpha, size=n)
    is_mixed = generator.random(n) < parameters.image_frac
    centre = generator.uniform(0, size, size=(n, 2))
    if parameters.kind == "mixup":
        return partner, np.where(is_mixed, share, 1).astype(np.float32)[:, None, None, None]
    half = np.sqrt(1 - share)[:, None] * size / 2
    first, last = np.round(centre - half), np.round(centre + half)
    y, x = np.arange(size[0]), np.arange(size[1])
    in_rows = (y >= first[:, :1]) & (y < last[:, :1])
    in_columns = (x >= first[:, 1:]) & (x < last[:, 1:])
    is_other = in_rows[:, :, None] & in_columns[:, None, :] & is_mixed[:, None, None]
    return partner, (~is_other).astype(np.float32)[:, None]


def _kept_channels(
    generator: np.random.Generator, shape: tuple[int, int], dropped_frac: float
) -> Bool[np.ndarray, "b c"]:
    """Which channels stay; of an image that would lose all of them, the one with the largest number."""
    numbers = generator.random(shape)
    return (numbers >= dropped_frac) | (numbers == numbers.max(axis=1, keepdims=True))


def crop_turn_flip(images: Shaped[np.ndarray, "b c y x"], draws: Draws) -> Shaped[np.ndarray, "b c h w"]:
    """Returns the crops, each turned by its number of 90-degree turns and then mirrored left to right or not.

    Crops that are smaller than `crop_px` are enlarged to it: every pixel takes the value of the nearest one.
    """
    crops = np.empty((*images.shape[:2], *draws.crop_px), dtype=images.dtype)
    for row, image in enumerate(images):
        n_turns, is_flipped = int(draws.n_turns[row]), bool(draws.is_flipped[row])
        crops[row] = turned(_crop(image, draws, row), n_turns, is_flipped=is_flipped)
    return crops


def turned(images: Shaped[np.ndarray, "*b y x"], n_turns: int, *, is_flipped: bool) -> Shaped[np.ndarray, "*b h w"]:
    """Returns a view of images that are turned by 90 degrees `n_turns` times, then mirrored left to right or not."""
    view = np.rot90(images, n_turns, axes=(-2, -1))
    return view[..., ::-1] if is_flipped else view


def _crop(image: Shaped[np.ndarray, "c y x"], draws: Draws, row: int) -> Shaped[np.ndarray, "c h w"]:
    (top, left), (height, width) = draws.top_left[row], draws.crop_px
    if draws.window_px is None:
        return image[:, top : top + height, left : left + width]
    n_rows, n_columns = draws.window_px[row]
    y = top + (np.arange(height) * 2 + 1) * n_rows // (2 * height)
    x = left + (np.arange(width) * 2 + 1) * n_columns // (2 * width)
    return image[:, y[:, None], x]


def centre_crop(images: Shaped[np.ndarray, "b c y x"], crop_px: int | None) -> Shaped[np.ndarray, "b c h w"]:
    """Returns the centres of images, at most `crop_px` high and wide; all of them where it is None."""
    rows, columns = (centre_of(side, crop_px) for side in images.shape[-2:])
    return images[..., rows, columns]


def centre_of(n_px: int, crop_px: int | None) -> slice:
    """Returns the centre of one side of an image, at most `crop_px` long; all of it where that is None."""
    length = n_px if crop_px is None else min(crop_px, n_px)
    start = (n_px - length) // 2
    return slice(start, start + length)
