"""Prepares the images of sites as a model from elsewhere wants them: `input.py` says how.

Channels are chosen and ordered first. Then the image is cropped, scaled, and resized if the declaration says so.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, Shaped, UInt

from cellassets.encoders.elsewhere.input import Input


def prepared(
    images: UInt[np.ndarray, "site all y x"],
    mean: Float32[np.ndarray, "site all"],
    std: Float32[np.ndarray, "site all"],
    declared: Input,
    positions: Sequence[int],
) -> Float[torch.Tensor, "site channel h w"]:
    """Returns images as the model gets them, in float32 on the CPU.

    Args:
        images: grey levels.
        mean: mean of each channel, in grey levels. Not used with `fixed`.
        std: standard deviation of each channel, at least `training.normalisation.min_std`. Not used with `fixed`.
        declared: which images the model gets.
        positions: places of the model's channels in the images, in the model's order.
    """
    chosen = list(positions)
    pixels = np.ascontiguousarray(_cropped(images, declared)[:, chosen])
    scale, shift = _scale_and_shift(mean[:, chosen], std[:, chosen], declared)
    as_float = torch.from_numpy(pixels).to(torch.float32)
    z = torch.addcmul(torch.from_numpy(shift)[:, :, None, None], as_float, torch.from_numpy(scale)[:, :, None, None])
    if declared.size == "resize" and tuple(z.shape[-2:]) != declared.size_px:
        z = torch.nn.functional.interpolate(z, declared.size_px, mode="bilinear", antialias=True, align_corners=False)
    return z


def _cropped(images: Shaped[np.ndarray, "b c y x"], declared: Input) -> Shaped[np.ndarray, "b c h w"]:
    if declared.size != "centre_crop":
        return images
    height, width = declared.size_px
    top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
    return images[..., top : top + height, left : left + width]


def _scale_and_shift(
    mean: Float32[np.ndarray, "site channel"], std: Float32[np.ndarray, "site channel"], declared: Input
) -> tuple[Float32[np.ndarray, "site channel"], Float32[np.ndarray, "site channel"]]:
    """Returns a, b such that z = a x + b."""
    if declared.normalisation != "fixed":
        scale = 1 / std
        return scale, -mean * scale
    fixed = declared.scale
    of_channels = [np.broadcast_to(np.asarray(values, np.float64), std.shape) for values in (fixed.mean, fixed.std)]
    scale = 1 / (of_channels[1] * fixed.divide_by)
    return scale.astype(np.float32), (-of_channels[0] / of_channels[1]).astype(np.float32)
