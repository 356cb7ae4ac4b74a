"""Estimate of one illumination function from many images: their mean, made smooth by a median filter.

Each image is divided by its own mean, so that one bright image counts no more than the others, and reduced to at most
128 x 128 blocks of pixels. Memory holds two sums of such images, whatever their number. Which images these are, and
where the function goes, is in `illumination_files.py`.

Source: Singh et al. (2014), J. Microsc. 256:231; CellProfiler's CorrectIlluminationCalculate (Regular, All, Median
Filter, rescaled) on reduced images, as in github.com/broadinstitute/imaging-platform-pipelines,
cellpainting_a549_20x_phenix_bin1/illum_without_batchfile.cppipe. There images are not divided by their mean, the filter
is 9% of the image wide and sees fewer pixels at the border, and the darkest 2% of pixels are raised to one level. The
last two make dark corners too bright.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt

MAX_SIDE = 128  # blocks along a side of the reduced image
MIN_OF_MEAN = 0.25  # darker places, such as black corners, are raised to it: the function must be positive

Reduced = Float64[np.ndarray, "row column"]


@dataclass(frozen=True)
class IlluminationEstimate:
    """An estimated illumination function.

    Attributes:
        function: 1 at its darkest place.
        unevenness_frac: standard deviation of the function, as a fraction of its mean.
        uncertainty_frac: standard error of the function, root mean square over the image, as a fraction of its mean;
            None for one image.
    """

    function: Float32[np.ndarray, "y x"]
    unevenness_frac: float
    uncertainty_frac: float | None


class MeanImage:
    """Running mean of the images of one channel, for images of one size.

    Two sums, of every second image each, give the standard error.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.n_images = 0
        self._starts = [np.arange(0, side, -(-side // MAX_SIDE)) for side in shape]
        sizes = [np.diff(starts, append=side) for starts, side in zip(self._starts, shape, strict=True)]
        self._centres = [starts + (size - 1) / 2 for starts, size in zip(self._starts, sizes, strict=True)]
        self._n_pixels = np.outer(*sizes)
        self._sums = np.zeros((2, *self._n_pixels.shape))

    def add(self, image: UInt[np.ndarray, "y x"]) -> bool:
        """Returns true after adding an image, and false for one whose pixels are all equal: it shows nothing."""
        if image.min() == image.max():
            return False
        columns = np.add.reduceat(image, self._starts[1], axis=1, dtype=np.uint64)
        blocks = np.add.reduceat(columns, self._starts[0], axis=0)
        self._sums[self.n_images % 2] += blocks / self._n_pixels * (image.size / float(blocks.sum()))
        self.n_images += 1
        return True

    def estimate(self, smoothing_frac: float) -> IlluminationEstimate | None:
        """Returns the illumination function of one image or more; None if most places have no light.

        Args:
            smoothing_frac: width of the median filter, as a fraction of the image's height and width.
        """
        smooth = smoothed(self._sums.sum(axis=0) / self.n_images, smoothing_frac)
        function = _rescaled(self._enlarged(smooth))
        if function is None:
            return None
        return IlluminationEstimate(
            function=function.astype(np.float32),
            unevenness_frac=float(function.std() / function.mean()),
            uncertainty_frac=self._standard_error(smoothing_frac) if self.n_images > 1 else None,
        )

    def _standard_error(self, smoothing_frac: float) -> float:
        first, second = (
            smoothed(total / n, smoothing_frac)
            for total, n in zip(self._sums, (-(-self.n_images // 2), self.n_images // 2), strict=True)
        )
        difference = first / first.mean() - second / second.mean()
        return float(np.sqrt(np.mean(difference**2)) / 2)  # the mean of both varies half as much as their difference

    def _enlarged(self, reduced: Reduced) -> Float64[np.ndarray, "y x"]:
        """Returns an image of full size, linear between the centres of blocks and beyond the outermost ones."""
        from scipy.interpolate import make_interp_spline

        for axis, (centres, side) in enumerate(zip(self._centres, self.shape, strict=True)):
            if len(centres) < side:
                reduced = make_interp_spline(centres, reduced, k=1, axis=axis)(np.arange(side))
        return reduced


def smoothed(image: Reduced, width_frac: float) -> Reduced:
    """Returns an image after a median filter with an elliptic window.

    Beyond the border the image goes on as its reflection at the pixel of the border, in place and in value. So a slope
    stays a slope, and the corners of a dark border keep their level.

    Args:
        image: the image.
        width_frac: width of the window, as a fraction of the image's height and width.
    """
    from scipy.ndimage import median_filter

    radii = [round(width_frac * side / 2) for side in image.shape]
    padded = np.pad(image, [(radius, radius) for radius in radii], mode="reflect", reflect_type="odd")
    rows, columns = (slice(radius, radius + side) for radius, side in zip(radii, image.shape, strict=True))
    return median_filter(padded, footprint=_ellipse(*radii))[rows, columns]


def _ellipse(height: int, width: int) -> Bool[np.ndarray, "row column"]:
    y, x = (np.arange(-radius, radius + 1) / max(radius, 1) for radius in (height, width))
    return y[:, None] ** 2 + x[None] ** 2 <= 1


def _rescaled(function: Float64[np.ndarray, "y x"]) -> Float64[np.ndarray, "y x"] | None:
    """Returns the function divided by its minimum; None if it is nowhere positive."""
    mean = function.mean()
    if mean <= 0:
        return None
    raised = np.maximum(function, MIN_OF_MEAN * mean)
    return raised / raised.min()
