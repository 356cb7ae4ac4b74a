"""Sources of well vectors for fitting an alignment. A source is read by rows, so that files need not fit into memory.

Arrays in memory are here; files are in `cellassets.mapping.streaming`. `cellassets.mapping.affine.Aligned` wraps a
source in fitted maps, so that the next step of a chain reads the result of the steps before it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from cellassets.errors import AlignmentError
from cellassets.finite import require_finite
from cellassets.mapping.controls import BatchDesign

BLOCK_BYTES = 1 << 23  # of float64 in memory at one time: 1,024 wells with 1,024 features
FitOn = Literal["all", "controls"]
Rows = Int[np.ndarray, "row"]
RowsOfGroups = list[Int[np.ndarray, "_"]]  # groups may differ in length
Block = Float[np.ndarray, "row feature"]


class WellSource(ABC):
    """The vectors of wells, in the order of a `BatchDesign`."""

    n_wells: int
    n_features: int

    @abstractmethod
    def rows(self, index: Rows) -> Block:
        """Returns the vectors of these wells in float64; do not modify them, they may be a view of the source."""


class ArrayWells(WellSource):
    """Vectors that are in memory."""

    def __init__(self, values: Block) -> None:
        """Takes one row per well.

        Raises:
            AlignmentError: a row is not finite.
        """
        require_finite("wells to align", values, kind="well in row", error=AlignmentError)
        self.values = values
        self.n_wells, self.n_features = values.shape

    def rows(self, index: Rows) -> Block:
        """Returns the vectors of these wells in float64."""
        return self.values[as_slice(index)].astype(np.float64, copy=False)


def as_slice(index: Rows) -> slice | Rows:
    """Returns consecutive rows as a slice, which reads and copies faster; other rows unchanged."""
    if len(index) and int(index[-1]) - int(index[0]) == len(index) - 1 and (np.diff(index) == 1).all():
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def blocks(rows: Rows, n_features: int) -> Iterator[Rows]:
    """Yields the rows in blocks of at most `BLOCK_BYTES`."""
    n_block = max(1, BLOCK_BYTES // (8 * n_features))
    for start in range(0, len(rows), n_block):
        yield rows[start : start + n_block]


def group_rows_of(
    group_index: Int[np.ndarray, "well"], n_groups: int, is_counted: Bool[np.ndarray, "well"] | None = None
) -> RowsOfGroups:
    """Returns the rows of every group in ascending order; with `is_counted`, only the rows where it is true."""
    rows = np.arange(len(group_index)) if is_counted is None else np.flatnonzero(is_counted)
    order = rows[np.argsort(group_index[rows], kind="stable")]
    return np.split(order, np.searchsorted(group_index[order], np.arange(1, n_groups)))


def fitted_rows(design: BatchDesign, fit_on: FitOn, n_needed: int = 1) -> RowsOfGroups:
    """Returns for every batch the rows that a step is fitted on.

    Raises:
        AlignmentError: a batch has fewer than `n_needed` such rows.
    """
    if fit_on == "controls":
        design.check_controls(n_needed)
    rows = group_rows_of(
        design.batch_index, len(design.batch_names), design.is_control if fit_on == "controls" else None
    )
    few = [f"{name} has {len(r)}" for name, r in zip(design.batch_names, rows, strict=True) if len(r) < n_needed]
    if few:
        message = f"too few wells to align: {', '.join(few)}; each batch needs {n_needed}. Leave the batch out"
        raise AlignmentError(message)
    return rows
