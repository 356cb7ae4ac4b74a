"""The simulated microscope: light of six stains in, 8-bit images out.

It adds bleed-through, defocus, uneven illumination, background, shot noise and read noise, as the well's `Conditions`
say.
"""

import numpy as np
from jaxtyping import Float32, UInt8

from cellassets.synthetic.nuisances import N_CHANNELS, Conditions
from cellassets.synthetic.spots import add_spots

FULL_SCALE = np.array([130.0, 140.0, 150.0, 135.0, 150.0, 150.0])  # grey levels at light 1
BACKGROUND = 0.035  # as a fraction of the camera's range
VIGNETTE = 0.12
BLEED = 0.02
BLUR_DIAMETERS = 0.010  # standard deviation of the point spread function, in cell diameters
GREY_PER_PHOTON = 0.07
READ_NOISE = 0.9  # grey levels
MAX_PASSES = 12

Images = Float32[np.ndarray, "channel y x"]


def photograph(
    light: Images, conditions: Conditions, diameter_px: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "channel y x"]:
    """Returns the images of `light`, which is overwritten.

    Args:
        light: light of each stain, about 1 at bright structures.
        conditions: nuisances of the well.
        diameter_px: diameter of an average cell in pixels.
        rng: the site's random stream.
    """
    _add_debris(light, diameter_px, rng)
    _bleed(light, BLEED + max(conditions.bleed, 0.0))
    # Source: n passes of the kernel (1, 2, 1) / 4 have variance n / 2
    passes = 2 * (BLUR_DIAMETERS * diameter_px * np.exp(conditions.blur)) ** 2
    illumination = planted_illumination(light.shape[1], conditions)
    gain = FULL_SCALE * np.exp(conditions.log_gain)
    offset = 255 * (BACKGROUND + conditions.offset)
    images = np.empty(light.shape, np.uint8)
    for channel, plane in enumerate(light):
        blurred = blur(plane, min(float(passes), MAX_PASSES))
        blurred *= np.float32(gain[channel])
        blurred += np.float32(offset[channel])
        blurred *= illumination
        images[channel] = _expose(blurred, rng)
    return images


def blur(plane: Float32[np.ndarray, "y x"], passes: float) -> Float32[np.ndarray, "y x"]:
    """Returns `plane` after a number of passes of the kernel (1, 2, 1) / 4 in both directions, in place.

    A fraction of a pass uses a kernel with proportionally smaller weights at its sides.
    """
    while passes > 0:
        side = np.float32(0.25 * min(passes, 1.0))
        for lines in (plane, plane.T):
            _smooth_rows(lines, side)
        passes -= 1.0
    return plane


def _smooth_rows(lines: Float32[np.ndarray, "y x"], side: np.float32) -> None:
    inner = lines[:-2] + lines[2:]
    inner *= side
    first, last = lines[0] + side * (lines[1] - lines[0]), lines[-1] + side * (lines[-2] - lines[-1])
    lines[1:-1] *= np.float32(1.0) - 2 * side
    lines[1:-1] += inner
    lines[0], lines[-1] = first, last


def _bleed(light: Images, share: float) -> None:
    """Adds a fraction of each channel to the next one, as with dyes of neighbouring spectra."""
    for channel in range(N_CHANNELS - 1, 0, -1):
        light[channel] += np.float32(share) * light[channel - 1]


def planted_illumination(size: int, conditions: Conditions) -> Float32[np.ndarray, "y x"]:
    """Returns the illumination: 1 at its centre, decreasing with the squared distance from it."""
    line = np.linspace(-1.0, 1.0, size)
    fall = VIGNETTE + max(conditions.vignette, 0.0)
    loss_y, loss_x = fall / 2 * (line - conditions.centre_y) ** 2, fall / 2 * (line - conditions.centre_x) ** 2
    return (1.0 - loss_y[:, None] - loss_x[None, :]).clip(0.2).astype(np.float32)


def _expose(plane: Float32[np.ndarray, "y x"], rng: np.random.Generator) -> UInt8[np.ndarray, "y x"]:
    """Returns grey levels with shot noise, whose variance grows with the signal, and read noise."""
    deviation = plane * np.float32(GREY_PER_PHOTON)
    deviation += np.float32(READ_NOISE**2)
    np.sqrt(deviation, out=deviation)
    deviation *= rng.standard_normal(plane.shape, np.float32)
    plane += deviation
    plane += np.float32(0.5)
    return np.clip(plane, 0.0, 255.0, out=plane).astype(np.uint8)


def _add_debris(light: Images, diameter_px: float, rng: np.random.Generator) -> None:
    """Adds a few bright specks that are visible in several channels."""
    size = light.shape[1]
    n = rng.poisson(1.5)
    y, x = rng.uniform(0, size, n), rng.uniform(0, size, n)
    sigma = np.maximum(diameter_px * rng.uniform(0.012, 0.05, n), 0.6)
    for channel in range(N_CHANNELS):
        level = rng.uniform(0.3, 1.8, n) * (rng.random(n) < 0.5)
        add_spots(light[channel], y, x, sigma, level)
