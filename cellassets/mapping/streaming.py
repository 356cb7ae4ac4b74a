"""Alignment of wells that do not fit into memory: from files, by blocks, to a file.

The same fits as in memory read these sources. All wells pass by once for every step that looks at all of them (`pca`
twice: means, then covariance), controls or plates are read where a step looks at those, and one pass more writes the
result. In memory at a time: a few blocks (8 MiB of float64 each), the controls of one batch (or all wells of one batch
or plate for `robust_z` and `well_position`), and the fitted maps: 8 bytes x batches x features x components for TVN,
twice that while they are multiplied out.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float, Float32

from cellassets.errors import AlignmentError
from cellassets.mapping.affine import Aligned, Chain, merged
from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.source import Block, Rows, WellSource, as_slice, blocks
from cellassets.mapping.steps import Step


class NpyWells(WellSource):
    """Vectors in a .npy file of (well, feature).

    The file is mapped anew for every read, so that pages read before do not count as this process' memory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_wells, self.n_features = np.load(path, mmap_mode="r").shape

    def rows(self, index: Rows) -> Block:
        """Returns the vectors of these wells in float64."""
        return np.load(self.path, mmap_mode="r")[as_slice(index)].astype(np.float64)


class ParquetWells(WellSource):
    """The column `embedding` of Parquet files, whose rows follow one another in the order of the files.

    A row group is the least that is read: write them with some thousand wells, sorted by batch and plate. The group
    read last is kept.
    """

    def __init__(self, paths: Sequence[Path], column: str = "embedding") -> None:
        self.column = column
        files = [pq.ParquetFile(path) for path in paths]
        self.groups = [(file, group) for file in files for group in range(file.num_row_groups)]
        sizes = [file.metadata.row_group(group).num_rows for file, group in self.groups]
        self.starts = np.cumsum([0, *sizes])
        self.kept: tuple[int, Float[np.ndarray, "row feature"] | None] = (-1, None)
        self.n_wells = int(self.starts[-1])
        if not self.n_wells:
            message = f"{[str(path) for path in paths][:5]}: no wells in these files; align what was embedded"
            raise AlignmentError(message)
        self.n_features = self._group(0).shape[1]

    def rows(self, index: Rows) -> Block:
        """Returns the vectors of these wells in float64."""
        found = np.empty((len(index), self.n_features))
        group_of_row = np.searchsorted(self.starts, index, side="right") - 1
        for group in np.unique(group_of_row):
            members = np.flatnonzero(group_of_row == group)
            found[as_slice(members)] = self._group(int(group))[as_slice(index[members] - self.starts[group])]
        return found

    def _group(self, number: int) -> Float[np.ndarray, "row feature"]:
        if self.kept[0] != number or self.kept[1] is None:
            file, group = self.groups[number]
            column = file.read_row_group(group, columns=[self.column])[self.column].combine_chunks()
            values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
            self.kept = (number, values)
            return values
        return self.kept[1]


def fit_steps(wells: WellSource, design: BatchDesign, steps: Sequence[Step]) -> Chain:
    """Returns the maps of all steps, each fitted to the wells as those before leave them."""
    chain: Chain = ()
    for step in steps:
        source = Aligned(wells, chain)
        chain = merged((*source.chain, *step.fit(source, design)), wells.n_features)
    return chain


def aligned_blocks(wells: WellSource, chain: Chain) -> Iterator[tuple[Rows, Float32[np.ndarray, "row component"]]]:
    """Yields consecutive rows and their aligned vectors, until all wells have passed by."""
    source = Aligned(wells, chain)
    for rows in blocks(np.arange(wells.n_wells), wells.n_features):
        yield rows, source.rows(rows).astype(np.float32)


def align_to_npy(wells: WellSource, design: BatchDesign, steps: Sequence[Step], path: Path) -> Chain:
    """Returns the fitted maps, after writing the aligned wells to a float32 .npy file.

    The file appears at `path` when it is whole.

    Args:
        wells: any number of them.
        design: batches, controls and what else the steps ask for, in the same order.
        steps: as in configs/mapping.yaml.
        path: a local file.

    Raises:
        AlignmentError: the design is of other wells, or a step refuses them.
    """
    if len(design.batch_index) != wells.n_wells:
        message = (
            f"{wells.n_wells} wells in the source and {len(design.batch_index)} in the design; make both of one table"
        )
        raise AlignmentError(message)
    chain = fit_steps(wells, design, steps)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as stream:
        shape = (wells.n_wells, Aligned(wells, chain).n_features)
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for _, values in aligned_blocks(wells, chain):
            stream.write(np.ascontiguousarray(values).data)
    partial.replace(path)
    return chain
