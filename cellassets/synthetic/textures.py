"""Seeded textures of cells: computed once per design, and read at a different offset for each cell.

A texture is a square that is larger than an image, so that image-sized windows at many offsets fit. Oriented textures
have `N_ORIENTATIONS` directions. Reading a window is cheap; computing textures for every site would take longer than
all other rendering.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int64
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import map_coordinates

from cellassets.synthetic.design import ScreenDesign
from cellassets.synthetic.seeds import stream

N_ORIENTATIONS = 8
SLACK_DIAMETERS = 3.0

Texture = Float32[np.ndarray, "bank bank"]
Textures = Float32[np.ndarray, "orientation bank bank"]


@dataclass(frozen=True)
class TextureBank:
    """Textures with mean near 0.5 and values from 0 to about 1; `*_noise` has mean 0 and standard deviation 1."""

    size: int
    image_size: int
    ruffle_noise: Texture
    chromatin_noise: Texture
    cytoplasm: Texture
    reticulum: Texture
    puncta: Texture
    fibres: Textures
    filaments: Textures

    @property
    def window(self) -> Int64[np.ndarray, " pixel"]:
        """Flat indices of an image-sized window at the corner of a texture; add an offset to move the window."""
        return _window(self.size, self.image_size)

    def offsets(self, n: int, rng: np.random.Generator) -> Int64[np.ndarray, " cell"]:
        """Returns `n` random offsets of the window."""
        slack = self.size - self.image_size
        return rng.integers(0, slack, n) * self.size + rng.integers(0, slack, n)


def texture_bank(design: ScreenDesign) -> TextureBank:
    """Returns the textures of a design; they depend on its seed, image size and cell diameter."""
    return _bank(design.seed, design.image_size, design.diameter_px)


@lru_cache(maxsize=2)
def _bank(seed: int, image_size: int, diameter: float) -> TextureBank:
    size = image_size + int(SLACK_DIAMETERS * diameter)
    size = next_fast_len(size, real=True)
    waves = _Waves(size, stream(seed, "textures"))
    angles = np.arange(N_ORIENTATIONS) * np.pi / N_ORIENTATIONS
    fine = max(0.014 * diameter, 0.6)
    return TextureBank(
        size=size,
        image_size=image_size,
        ruffle_noise=waves.noise(0.09 * diameter),
        chromatin_noise=waves.noise(max(0.022 * diameter, 0.7)),
        cytoplasm=_squash(waves.noise(0.13 * diameter)),
        reticulum=_squash(0.7 * _ridges(waves.noise(0.035 * diameter)) + 0.8 * waves.noise(fine)),
        puncta=_spots(waves.noise(max(0.02 * diameter, 0.8))),
        fibres=np.stack([_fibres(waves, a, fine, diameter) for a in angles]),
        filaments=np.stack([_filaments(waves, a, fine, diameter) for a in angles]),
    )


@lru_cache(maxsize=4)
def _window(size: int, image_size: int) -> Int64[np.ndarray, " pixel"]:
    rows = np.arange(image_size)[:, None] * size
    return (rows + np.arange(image_size)).ravel()


class _Waves:
    """Generates periodic Gaussian noise of a given grain by filtering white noise in the frequency domain."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self._size, self._rng = size, rng
        self._fy = np.fft.fftfreq(size)[:, None].astype(np.float32)
        self._fx = np.fft.rfftfreq(size)[None, :].astype(np.float32)

    def noise(self, grain: float, *, length: float | None = None, angle: float = 0.0) -> Texture:
        """Returns noise with mean 0 and standard deviation 1.

        Args:
            grain: standard deviation of the smoothing Gaussian in pixels.
            length: standard deviation along `angle` in pixels; `grain` by default.
            angle: direction of `length` in radians from the x axis.
        """
        along = self._fx * np.cos(angle) + self._fy * np.sin(angle)
        across = self._fy * np.cos(angle) - self._fx * np.sin(angle)
        # Source: the Fourier transform of a Gaussian with standard deviation s is exp(-2 (pi s f)^2)
        filter_: np.ndarray = np.exp(
            np.float32(-2 * np.pi**2) * ((along * (length or grain)) ** 2 + (across * grain) ** 2)
        )
        filter_[0, 0] = 0.0
        white = self._rng.standard_normal((self._size, self._size), np.float32)
        smooth = irfft2(rfft2(white) * filter_, s=white.shape)
        return np.asarray(smooth / smooth.std(), np.float32)


def _ridges(noise: Texture) -> Texture:
    """Returns lines where noise crosses zero: a mesh of threads, mean 0 and standard deviation about 1."""
    lines = np.exp(-((noise / 0.45) ** 2))
    return ((lines - lines.mean()) / lines.std()).astype(np.float32)


def _squash(noise: Texture) -> Texture:
    """Returns noise mapped smoothly into the range 0 to 1."""
    return (0.5 + 0.5 * np.tanh(0.7 * noise)).astype(np.float32)


def _spots(noise: Texture) -> Texture:
    """Returns isolated bright grains, with 0 between them."""
    return (np.clip(noise - 0.7, 0.0, 1.6) / 1.1).astype(np.float32)


def _fibres(waves: "_Waves", angle: float, fine: float, diameter: float) -> Texture:
    """Returns bundles of parallel, slightly bent fibres."""
    threads = _bent(waves.noise(0.8 * fine, length=0.22 * diameter, angle=angle), waves, diameter)
    bundles = waves.noise(0.07 * diameter, length=0.2 * diameter, angle=angle)
    return (np.clip(threads, 0.0, 2.2) * np.clip(0.5 + 0.5 * bundles, 0.05, 1.3) / 1.2).astype(np.float32)


def _bent(texture: Texture, waves: "_Waves", diameter: float) -> Texture:
    """Returns `texture` with every pixel moved by a few pixels, so that straight lines become curved."""
    y, x = np.mgrid[: len(texture), : len(texture)]
    bend = 0.05 * diameter
    grain = 0.28 * diameter
    places = (y + bend * waves.noise(grain), x + bend * waves.noise(grain))
    return map_coordinates(texture, places, order=1, mode="grid-wrap", output=np.float32)


def _filaments(waves: "_Waves", angle: float, fine: float, diameter: float) -> Texture:
    """Returns winding threads with one main direction: a mitochondrial network."""
    winding = waves.noise(0.017 * diameter + 0.3, length=0.05 * diameter, angle=angle)
    gaps = waves.noise(0.05 * diameter)
    lines = np.exp(-((winding / 0.45) ** 2)) * np.clip(0.7 + 0.5 * gaps, 0.0, 1.3)
    return (lines + 0.06 * waves.noise(fine)).clip(0.0).astype(np.float32)
