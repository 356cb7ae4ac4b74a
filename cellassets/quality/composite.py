"""Colour composites: several fluorescent channels in one picture, with shared display limits for comparisons."""

import numpy as np
from jaxtyping import Float, UInt, UInt8

# blue, green, red, cyan, magenta, yellow: the colours in which RxRx1's six stains are usually shown
CHANNEL_COLOURS = np.array(
    [(0.15, 0.25, 1.0), (0.1, 0.9, 0.2), (1.0, 0.15, 0.1), (0.1, 0.8, 0.9), (0.9, 0.2, 0.9), (0.95, 0.85, 0.15)],
    dtype=np.float32,
)
LOW_PERCENTILE, HIGH_PERCENTILE = 5.0, 99.8
GAMMA = 0.8


def channel_limits(images: UInt[np.ndarray, "site channel y x"]) -> Float[np.ndarray, "channel 2"]:
    """Returns the grey levels that are shown as black and as full colour: 5th and 99.8th percentile of each channel."""
    pixels = np.moveaxis(images, 1, 0).reshape(images.shape[1], -1)
    limits = np.percentile(pixels, (LOW_PERCENTILE, HIGH_PERCENTILE), axis=1).T
    limits[:, 1] = np.maximum(limits[:, 1], limits[:, 0] + 1)
    return limits


def composite(
    images: UInt[np.ndarray, "channel y x"], limits: Float[np.ndarray, "channel 2"] | None = None
) -> UInt8[np.ndarray, "y x 3"]:
    """Returns one site as a picture in additive colours.

    Args:
        images: channels of the site; colours repeat after six channels.
        limits: display limits of each channel in grey levels; the site's own percentiles by default. Use the same
            limits for pictures that are compared.
    """
    limits = channel_limits(images[None]) if limits is None else limits
    low, high = (limits[:, side, None, None].astype(np.float32) for side in (0, 1))
    light = np.clip((images.astype(np.float32) - low) / (high - low), 0, 1) ** GAMMA
    colours = CHANNEL_COLOURS[np.arange(len(images)) % len(CHANNEL_COLOURS)]
    mixed = np.einsum("cyx,ck->yxk", light, colours) / np.sqrt(max(len(images) / 2, 1.0))
    return (np.clip(mixed, 0, 1) * 255).round().astype(np.uint8)
