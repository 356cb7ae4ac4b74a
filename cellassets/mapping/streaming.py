"""Alignment of wells that do not fit into memory: reads files in blocks and writes a file.

The fits are the same as in memory. A step that is fitted on all wells reads all of them once (`pca` twice: for the
means and for the covariance); a step that is fitted on controls or plates reads those; one more pass writes the result.
In memory at one time are a few blocks (8 MiB of float64 each), the controls of one batch (for `robust_z` and
`well_position`: all wells of one batch or plate), and the fitted maps. For TVN these take 8 bytes x batches x features
x components, and twice as much while they are multiplied out.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float, Float32

from cellassets.errors import AlignmentError
from cellassets.finite import require_finite
from cellassets.mapping.affine import Aligned, Chain, merged
from cellassets.mapping.controls import BatchDesign
from cellassets.mapping.source import Block, Rows, WellSource, as_slice, blocks
from cellassets.mapping.steps import Step


class NpyWells(WellSource):
    """Vectors in a .npy file of shape (well, feature).

    The file is memory-mapped again for every read, so that earlier pages do not count as memory of this process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_wells, self.n_features = np.load(path, mmap_mode="r").shape

    def rows(self, index: Rows) -> Block:
        """Returns the vectors of these wells in float64."""
        return _finite(str(self.path), np.load(self.path, mmap_mode="r")[as_slice(index)].astype(np.float64), index)


class ParquetWells(WellSource):
    """The column `embedding` of Parquet files; the rows are those of all files, in the order of the files.

    The smallest unit of reading is a row group. Write row groups of some thousand wells, sorted by batch and plate. The
    last row group that was read stays in memory.
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
            message = f"{[str(path) for path in paths][:5]}: no wells in these files; give files with embeddings"
            raise AlignmentError(message)
        self.n_features = self._group(0).shape[1]

    def rows(self, index: Rows) -> Block:
        """Returns the vectors of these wells in float64."""
        found = np.empty((len(index), self.n_features))
        group_of_row = np.searchsorted(self.starts, index, side="right") - 1
        for group in np.unique(group_of_row):
            members = np.flatnonzero(group_of_row == group)
            found[as_slice(members)] = self._group(int(group))[as_slice(index[members] - self.starts[group])]
        return _finite(f"column {self.column}", found, index)

    def _group(self, number: int) -> Float[np.ndarray, "row feature"]:
        if self.kept[0] != number or self.kept[1] is None:
            file, group = self.groups[number]
            column = file.read_row_group(group, columns=[self.column])[self.column].combine_chunks()
            values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
            self.kept = (number, values)
            return values
        return self.kept[1]


def fit_steps(wells: WellSource, design: BatchDesign, steps: Sequence[Step]) -> Chain:
    """Returns the fitted maps of all steps; each step is fitted to the result of the steps before it."""
    chain: Chain = ()
    for step in steps:
        source = Aligned(wells, chain)
        chain = merged((*source.chain, *step.fit(source, design)), wells.n_features)
    return chain


def aligned_blocks(wells: WellSource, chain: Chain) -> Iterator[tuple[Rows, Float32[np.ndarray, "row component"]]]:
    """Yields blocks of consecutive rows and their aligned vectors, for all wells."""
    source = Aligned(wells, chain)
    for rows in blocks(np.arange(wells.n_wells), wells.n_features):
        yield rows, source.rows(rows).astype(np.float32)


def align_to_npy(wells: WellSource, design: BatchDesign, steps: Sequence[Step], path: Path) -> Chain:
    """Returns the fitted maps, after writing the aligned wells to a float32 .npy file.

    The file appears at `path` when it is complete.

    Args:
        wells: any number of wells.
        design: batches, controls and whatever else the steps need, in the same order as the wells.
        steps: as in configs/mapping.yaml.
        path: a local file.

    Raises:
        AlignmentError: the design has another number of wells, or a step refuses them.
    """
    if len(design.batch_index) != wells.n_wells:
        message = (
            f"{wells.n_wells} wells in the source and {len(design.batch_index)} in the design; make both from the same "
            "table"
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


def _finite(where: str, values: Block, index: Rows) -> Block:
    """The values, if they are finite; a well is named by its row in the whole source."""
    require_finite(where, values, names=index, kind="well", error=AlignmentError)
    return values
