"""A linear probe that leaves out blocks: what is a well, told by wells of other blocks alone, for any labels of blocks.

Blocks are plates where batches are told, and wells where plates are. Labels are given to blocks as a whole. All that a
permutation of labels needs are products of wells with sums of blocks, so that it costs a small product of matrices.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from cellassets.mapping.moments import group_sums, source_moments
from cellassets.mapping.source import ArrayWells
from cellassets.statistics.linear_probe import metric_of, summed_fourth_powers


def whitened(
    wells: Float[np.ndarray, "well feature"], group: Int[np.ndarray, "well"]
) -> Float[np.ndarray, "well feature"]:
    """Returns the wells centred by group, in the metric of the linear probe that all of them make up.

    Args:
        wells: one row a well.
        group: number of each well's group, from 0 on, every one with a well; all the same to centre them together.
    """
    rows = wells.astype(np.float64)
    means = group_sums(rows, group, int(group.max()) + 1) / np.bincount(group)[:, None]
    rows = rows - means[group]
    every = np.arange(len(rows))
    found = source_moments(ArrayWells(rows), every, has_products=True)
    return metric_of(found, summed_fourth_powers(rows, every, found.mean)).apply(rows).astype(np.float64)


class BlockProbe:
    """Tells the label of each well's block: whose mean, over the wells of other blocks, is nearest to the well."""

    def __init__(self, wells: Float[np.ndarray, "well feature"], block: Int[np.ndarray, "well"]) -> None:
        """Takes wells in the probe's metric, and the number of each one's block, from 0 on."""
        self._block, self._size = block, np.bincount(block).astype(np.float64)
        sums = group_sums(wells, block, len(self._size))
        self._to_blocks = wells @ sums.T
        self._among_blocks = sums @ sums.T

    def answers(self, label: Int[np.ndarray, "block"]) -> tuple[Bool[np.ndarray, "well"], Float[np.ndarray, "well"]]:
        """Returns which wells are told right, and how near they come to their own label's mean, within 0 and 1.

        Args:
            label: of each block, from 0 on; each with two blocks at least.
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
