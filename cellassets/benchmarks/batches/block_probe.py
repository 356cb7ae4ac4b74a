"""A linear probe that predicts the label of a well from the wells of other blocks.

Blocks are plates where batches are predicted, and wells where plates are predicted. All wells of a block have one
label. A permutation of the labels needs only products of wells with sums of blocks, so it costs one small matrix
product.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from cellassets.errors import BenchmarkError
from cellassets.finite import finite_arguments
from cellassets.mapping.moments import group_sums, source_moments
from cellassets.mapping.source import ArrayWells
from cellassets.statistics.linear_probe import metric_of, summed_fourth_powers


@finite_arguments(BenchmarkError)
def whitened(
    wells: Float[np.ndarray, "well feature"], group: Int[np.ndarray, "well"]
) -> Float[np.ndarray, "well feature"]:
    """Returns the wells centred by group, in the metric of the linear probe that is fitted on all of them.

    Args:
        wells: one row per well.
        group: number of each well's group, from 0; every group has a well. One group centres all wells together.
    """
    rows = wells.astype(np.float64)
    means = group_sums(rows, group, int(group.max()) + 1) / np.bincount(group)[:, None]
    rows = rows - means[group]
    every = np.arange(len(rows))
    found = source_moments(ArrayWells(rows), every, has_products=True)
    return metric_of(found, summed_fourth_powers(rows, every, found.mean)).apply(rows).astype(np.float64)


class BlockProbe:
    """Predicts the label of each well: the one whose mean, over the wells of other blocks, is nearest to the well."""

    def __init__(self, wells: Float[np.ndarray, "well feature"], block: Int[np.ndarray, "well"]) -> None:
        """Takes wells in the metric of the probe, and the number of each well's block, from 0."""
        self._block, self._size = block, np.bincount(block).astype(np.float64)
        sums = group_sums(wells, block, len(self._size))
        self._to_blocks = wells @ sums.T
        self._among_blocks = sums @ sums.T

    def answers(self, label: Int[np.ndarray, "block"]) -> tuple[Bool[np.ndarray, "well"], Float[np.ndarray, "well"]]:
        """Returns which wells are predicted correctly, and how near each is to the mean of its label, from 0 to 1.

        Args:
            label: label of each block, from 0; every label has at least two blocks.
        """
        is_of = (label[:, None] == np.arange(label.max() + 1)).astype(np.float64)
        n_wells, to_labels = self._size @ is_of, self._to_blocks @ is_of
        among = self._among_blocks @ is_of
        squares = np.einsum("bl,bl->l", is_of, among)
        scores = to_labels / n_wells - squares / (2 * n_wells**2)
        rows, block = np.arange(len(self._block)), self._block
        own = label[block]
        n_left = n_wells[own] - self._size[block]
        to_own = to_labels[rows, own] - self._to_blocks[rows, block]
        own_square = squares[own] - 2 * among[block, own] + self._among_blocks[block, block]
        scores[rows, own] = to_own / n_left - own_square / (2 * n_left**2)
        return scores.argmax(axis=1) == own, 1 / (1 + scores.max(axis=1) - scores[rows, own])
