"""Fitted alignment: a chain of maps, each of which is affine by group (batch, plate or chromosome arm).

"Map" here means a function of vectors, not the map of perturbations. `cellassets.mapping.align` and the other step
files fit these maps. The same code applies them to matrices in memory and to files.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cellassets.errors import AlignmentError
from cellassets.finite import finite_arguments
from cellassets.mapping.source import Block, Rows, WellSource, as_slice, blocks


class FittedMap(ABC):
    """A fitted function that can be applied to any well of the design."""

    @abstractmethod
    def n_out(self, n_features: int) -> int:
        """Returns the number of output components for `n_features` input features."""

    @abstractmethod
    def transform(self, values: Block, rows: Rows) -> Float[np.ndarray, "row component"]:
        """Returns the mapped vectors of the wells `rows`, whose vectors are `values`."""


@dataclass(frozen=True)
class GroupAffine(FittedMap):
    """A map that turns a well x of group g into x W_g + c_g.

    Attributes:
        group_index: group of every well; None if there is one group.
        weight: (group, feature) if every feature is scaled on its own, (group, feature, component) for matrices; the
            first axis has length 1 if all groups share the weight. Size: 8 bytes x groups x features x components,
            which is 1.3 GiB for 1,024 features and 176 batches.
        offset: (group, component).
    """

    group_index: Int[np.ndarray, "well"] | None
    weight: Float[np.ndarray, "shared feature"] | Float[np.ndarray, "shared feature component"]
    offset: Float[np.ndarray, "group component"]

    def n_out(self, n_features: int) -> int:  # noqa: ARG002 - other maps ask for it
        """Returns the number of output components."""
        return int(self.offset.shape[1])

    def transform(self, values: Block, rows: Rows) -> Float[np.ndarray, "row component"]:
        """Returns the mapped vectors of these wells."""
        if self.group_index is None:
            return self._of_group(values, 0)
        index = self.group_index[rows]
        mapped = np.empty((len(values), self.offset.shape[1]))
        if (index[1:] >= index[:-1]).all():  # one group after another, as `transform_wells` asks
            starts = np.flatnonzero(np.diff(index, prepend=-1))
            for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(index)], strict=True):
                self._of_group(values[start:stop], int(index[start]), out=mapped[start:stop])
            return mapped
        for group in np.unique(index):
            members = np.flatnonzero(index == group)
            mapped[members] = self._of_group(values[members], int(group))
        return mapped

    def _of_group(
        self, values: Block, group: int, *, out: Float[np.ndarray, "row component"] | None = None
    ) -> Float[np.ndarray, "row component"]:
        weight = self.weight[group if len(self.weight) > 1 else 0]
        mapped = np.multiply(values, weight, out=out) if weight.ndim == 1 else np.matmul(values, weight, out=out)
        mapped += self.offset[group if len(self.offset) > 1 else 0]
        return mapped


@finite_arguments(AlignmentError)
def centred_affine(
    group_index: Int[np.ndarray, "well"] | None,
    mean: Float[np.ndarray, "group feature"],
    weight: Float[np.ndarray, "shared feature"] | Float[np.ndarray, "shared feature component"],
) -> GroupAffine:
    """Returns the affine map (x - mean_g) W_g."""
    if weight.ndim == 2:
        return GroupAffine(group_index, weight, -mean * weight)
    offset = -np.matmul(mean[:, None, :], weight)[:, 0, :]
    return GroupAffine(group_index, weight, offset)


Chain = tuple[FittedMap, ...]


def merged(chain: Sequence[FittedMap], n_features: int) -> Chain:
    """Returns the chain with consecutive affine maps multiplied out, where that saves work.

    To multiply out costs up to features^2 x components operations per group, and saves up to features^2 operations per
    well. So it saves work if a group has more wells than there are features.
    """
    done: list[FittedMap] = []
    for step in chain:
        before = done[-1] if done else None
        if isinstance(step, GroupAffine) and isinstance(before, GroupAffine) and _pays(before, step, n_features):
            done[-1] = _product(before, step)
        else:
            done.append(step)
        n_features = step.n_out(n_features)
    return tuple(done)


def _pays(first: GroupAffine, second: GroupAffine, n_features: int) -> bool:
    indices = [m.group_index for m in (first, second) if m.group_index is not None]
    if len(indices) == 2 and indices[0] is not indices[1]:
        return False
    n_groups = max(len(m.weight) for m in (first, second))
    return n_groups == 1 or first.weight.ndim == second.weight.ndim == 2 or len(indices[0]) > n_groups * n_features


def _product(first: GroupAffine, second: GroupAffine) -> GroupAffine:
    index = first.group_index if first.group_index is not None else second.group_index
    offset = centred_affine(index, -first.offset, second.weight).offset + second.offset
    if first.weight.ndim == 3 and second.weight.ndim == 3:
        return GroupAffine(index, np.matmul(first.weight, second.weight), offset)
    if first.weight.ndim == 3:
        return GroupAffine(index, first.weight * second.weight[:, None, :], offset)
    return GroupAffine(
        index,
        first.weight[:, :, None] * second.weight if second.weight.ndim == 3 else first.weight * second.weight,
        offset,
    )


def run_chain(chain: Sequence[FittedMap], values: Block, rows: Rows) -> Float[np.ndarray, "row component"]:
    """Returns the vectors of these wells after all maps of the chain."""
    for step in chain:
        values = step.transform(values, rows)
    return values


def transform_wells(source: WellSource, chain: Sequence[FittedMap]) -> Float[np.ndarray, "well component"]:
    """Returns all wells of a source after a chain, in float64; computed in blocks, one batch after another."""
    chain = merged(chain, source.n_features)
    every = list(blocks(np.arange(source.n_wells), source.n_features))
    if len(every) == 1 and len(chain):
        return run_chain(chain, source.rows(every[0]), every[0])
    n_out = source.n_features
    for step in chain:
        n_out = step.n_out(n_out)
    aligned = np.empty((source.n_wells, n_out))
    order = np.arange(source.n_wells)
    index = next((m.group_index for m in chain if isinstance(m, GroupAffine) and m.group_index is not None), None)
    if index is not None:
        order = np.argsort(index, kind="stable")  # one matrix at a time gives larger products
    for rows in blocks(order, source.n_features):
        aligned[as_slice(rows)] = run_chain(chain, source.rows(rows), rows)
    return aligned


class Aligned(WellSource):
    """A source of wells after a chain of fitted maps."""

    def __init__(self, source: WellSource, chain: Sequence[FittedMap]) -> None:
        self.source, self.chain = source, merged(chain, source.n_features)
        self.n_wells, self.n_features = source.n_wells, source.n_features
        for step in self.chain:
            self.n_features = step.n_out(self.n_features)

    def rows(self, index: Rows) -> Block:
        """Returns the vectors of these wells after the chain."""
        return run_chain(self.chain, self.source.rows(index), index)
