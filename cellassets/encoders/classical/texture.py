"""Haralick's texture features of objects, for all objects and directions of a channel at once.

The values equal those of `cp_measure.core.measuretexture.get_texture` (which calls mahotas once per object), to
rounding. Pairs of pixels are found once per site; a channel then costs one histogram of its pairs, of which only the
cells that are not empty are looked at.

Source: Haralick et al. (1973), IEEE Trans. Syst. Man Cybern. SMC-3:610; CellProfiler's MeasureTexture.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Integer, Shaped, UInt

from cellassets.encoders.classical.objects import Objects

DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1))
N_DIRECTIONS = len(DIRECTIONS)
MAX_CELLS = 1 << 22  # of the co-occurrence histogram: 32 MiB at once
Values = Float[np.ndarray, "group"]


@dataclass(frozen=True)
class Pairs:
    """Pairs of pixels of the same object at a fixed distance; a group is an object in one of the four directions.

    Attributes:
        first: flat position of one pixel of each pair.
        second: flat position of the other.
        group: object * 4 + direction of each pair, 0-based.
    """

    first: Int[np.ndarray, "pair"]
    second: Int[np.ndarray, "pair"]
    group: Int[np.ndarray, "pair"]


def object_pairs(objects: Objects, distance: int) -> Pairs:
    """Returns all pairs of pixels of the same object that are `distance` pixels apart in each direction."""
    height, width = objects.labels.shape
    positions = np.arange(height * width).reshape(height, width)
    found = []
    for number, direction in enumerate(DIRECTIONS):
        down, right = (step * distance for step in direction)
        here, there = _shifted(down, right)
        labels = objects.labels[here]
        is_pair = (labels == objects.labels[there]) & (labels > 0)
        first = positions[here][is_pair]
        group = (labels[is_pair].astype(np.intp) - 1) * N_DIRECTIONS + number
        found.append((first, first + (down * width + right), group))
    first, second, group = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Pairs(first, second, group)


def texture_features(
    objects: Objects, pairs: Pairs, image: UInt[np.ndarray, "y x"], *, n_levels: int, white: int
) -> dict[str, Float[np.ndarray, "object"]]:
    """Returns texture features per object by name: each the mean over the four directions.

    Cells lie in any direction, so no direction has a meaning of its own. Pixels that are quantised to 0 take no part.
    An object without pairs in one of the directions gets NaN in all features.

    Args:
        objects: the objects.
        pairs: their pairs, from `object_pairs`.
        image: grey levels, at most `white`.
        n_levels: grey levels to quantise to, 0 included.
        white: the brightest grey level of the scale.
    """
    in_8_bits = np.rint(np.arange(white + 1) / white * 255)  # first to 8 bits, as cp_measure does
    quantised = (in_8_bits / 255 * (n_levels - 1)).astype(np.uint8)[image.ravel()]
    brightest = np.maximum.reduceat(quantised[objects.pixels], objects.starts).astype(np.intp)
    low, high = quantised.take(pairs.first), quantised.take(pairs.second)
    low, high = np.minimum(low, high), np.maximum(low, high)
    cell = low * np.uint16(n_levels) + high  # below 65,536, as there are at most 256 levels
    parts = []
    for start, stop in _chunks(objects.n_objects, n_levels):
        first_group, n_groups = start * N_DIRECTIONS, (stop - start) * N_DIRECTIONS
        group, its_cell = pairs.group - first_group, cell
        if n_groups < objects.n_objects * N_DIRECTIONS:
            is_here = (group >= 0) & (group < n_groups)
            group, its_cell = group[is_here], its_cell[is_here]
        matrices = _Cooccurrence(group, its_cell, n_levels, n_groups)
        n_bins = np.repeat(brightest[start:stop] + 1, N_DIRECTIONS)
        parts.append({name: _over_directions(values) for name, values in matrices.measures(n_bins).items()})
    return {f"Texture_{name}": np.concatenate([part[name] for part in parts]) for name in parts[0]}


class _Cooccurrence:
    """The symmetric grey-level co-occurrence matrices of some groups, as lists of their cells that are not empty.

    `pair_frac` is the probability of the unordered pair (low, high), `cell_frac` that of one of its two cells.
    """

    def __init__(
        self, group: Int[np.ndarray, "pair"], cell: Integer[np.ndarray, "pair"], n_levels: int, n_groups: int
    ) -> None:
        self.n_levels, self.n_groups = n_levels, n_groups
        n_cells = n_levels**2
        counts = np.bincount(group * n_cells + cell, minlength=n_groups * n_cells)
        counts.reshape(n_groups, n_cells)[:, :n_levels] = 0  # pairs with a black pixel
        cells = np.flatnonzero(counts)
        self.group, used_cell = np.divmod(cells.astype(np.int32), np.int32(n_cells))  # 3 times as fast as 64 bits
        self.low, self.high = np.divmod(used_cell, np.int32(n_levels))
        n_pairs = _sums(self.group, counts[cells], n_groups)
        self.is_empty = n_pairs == 0
        self.pair_frac = counts[cells] / n_pairs[self.group]
        self.cell_frac = np.where(self.low < self.high, self.pair_frac / 2, self.pair_frac)

    def measures(self, n_bins: Int[np.ndarray, "group"]) -> dict[str, Values]:
        """Returns Haralick's 13 measures per group, in the order of CellProfiler.

        Args:
            n_bins: number of grey levels that the object of each group spans, 0 included.
        """
        levels = np.arange(self.n_levels)
        marginal = self._marginal()
        sums = self._binned(self.low + self.high, 2 * self.n_levels)
        differences = self._binned(self.high - self.low, self.n_levels)
        mean = marginal @ levels
        variance = marginal @ levels**2 - mean**2
        sum_levels = np.arange(2 * self.n_levels)
        sum_average = sums @ sum_levels
        entropy = -self._total(self.pair_frac * np.log2(self.cell_frac))
        marginal_entropy = _entropy(marginal)
        mutual_information = 2 * marginal_entropy - entropy
        measured = {
            "AngularSecondMoment": self._total(self.pair_frac * self.cell_frac),
            "Contrast": differences @ levels**2,
            "Correlation": np.where(
                variance == 0, 1.0, (self._total(self.pair_frac * self.low * self.high) - mean**2) / variance
            ),
            "Variance": variance,
            "InverseDifferenceMoment": differences @ (1 / (1 + levels**2)),
            "SumAverage": sum_average,
            "SumVariance": sums @ sum_levels**2 - sum_average**2,
            "SumEntropy": _entropy(sums),
            "Entropy": entropy,
            "DifferenceVariance": _variance_of_first(differences, n_bins),
            "DifferenceEntropy": _entropy(differences),
            "InfoMeas1": np.where(marginal_entropy == 0, 0.0, -mutual_information / marginal_entropy),
            "InfoMeas2": np.sqrt(np.maximum(0, 1 - np.exp(-2 * mutual_information))),
        }
        return {name: np.where(self.is_empty, np.nan, values) for name, values in measured.items()}

    def _total(self, weights: Float[np.ndarray, "cell"]) -> Values:
        return _sums(self.group, weights, self.n_groups)

    def _binned(self, bins: Integer[np.ndarray, "cell"], n_bins: int) -> Float[np.ndarray, "group bin"]:
        where = self.group * n_bins + bins
        return _sums(where, self.pair_frac, self.n_groups * n_bins).reshape(self.n_groups, n_bins)

    def _marginal(self) -> Float[np.ndarray, "group level"]:
        return (self._binned(self.low, self.n_levels) + self._binned(self.high, self.n_levels)) / 2


def _sums(
    bins: Integer[np.ndarray, "cell"], weights: Shaped[np.ndarray, "cell"], n_bins: int
) -> Float[np.ndarray, "bin"]:
    return np.bincount(bins, weights=weights, minlength=n_bins).astype(np.float64)  # integers where there are no cells


def _entropy(probabilities: Float[np.ndarray, "group bin"]) -> Values:
    return -np.sum(probabilities * np.log2(np.where(probabilities > 0, probabilities, 1.0)), axis=1)


def _variance_of_first(probabilities: Float[np.ndarray, "group bin"], n_bins: Int[np.ndarray, "group"]) -> Values:
    """The variance of the first `n_bins` probabilities: mahotas takes the matrix no larger than the object needs."""
    is_used = np.arange(probabilities.shape[1]) < n_bins[:, None]
    deviation = np.where(is_used, probabilities - (probabilities.sum(axis=1) / n_bins)[:, None], 0.0)
    return np.sum(deviation**2, axis=1) / n_bins


def _over_directions(values: Values) -> Float[np.ndarray, "object"]:
    return values.reshape(-1, N_DIRECTIONS).mean(axis=1)


def _shifted(down: int, right: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of an image, and of the same image shifted: down is 0 or more, right any number."""
    rows = slice(None, -down or None), slice(down, None)
    left, moved = slice(None, -abs(right) or None), slice(abs(right), None)
    columns = (left, moved) if right >= 0 else (moved, left)
    return (rows[0], columns[0]), (rows[1], columns[1])


def _chunks(n_objects: int, n_levels: int) -> Iterator[tuple[int, int]]:
    step = max(1, MAX_CELLS // (N_DIRECTIONS * n_levels**2))
    for start in range(0, n_objects, step):
        yield start, min(start + step, n_objects)
