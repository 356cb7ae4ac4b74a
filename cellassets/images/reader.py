"""Reading sites from a store: any sites of an experiment in any order, or block by block with threads that read ahead.

Every index and every site is compared with the checksum that is stored beside it. Bytes are read by ranges, so a store
in a bucket is read in the same way as one on disk. A reader holds no open file, can be shared by threads and can be
sent to worker processes.
"""

import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Integer, UInt
from upath import UPath

from cellassets.errors import ArtifactMissing, CorruptArtifact
from cellassets.images.spec import CRC_BYTES, HOW_TO_REPAIR, PlateSpec, as_positions, checksum_of, decode_site
from cellassets.screens.imaging import Imaging
from cellassets.storage.artifact import FileEntry, PublishedFile, is_local
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import SITES, WELLS

TABLES = ("store.json", "sites.parquet", "wells.parquet")
SITES_PER_TASK = 8  # that one thread decodes at a time
Empty = Callable[[tuple[int, ...], str], np.ndarray]
Block = tuple[Integer[np.ndarray, "site"], UInt[np.ndarray, "site channel y x"], list[Future]]


@dataclass(frozen=True, eq=False)
class ExperimentStore:
    """The repacked images of one experiment, addressed by site.

    Attributes:
        experiment_id: the experiment.
        sites: SITES table; index i reads the site of row i.
        wells: WELLS table of the experiment.
        imaging: channels, pixel size and highest grey level.
    """

    experiment_id: str
    sites: pl.DataFrame
    wells: pl.DataFrame
    imaging: Imaging
    _folder: UPath
    _plates: tuple[PlateSpec, ...]
    _shard_bytes: dict[str, int]
    _indices: dict[str, Integer[np.ndarray, "site 2"]] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: UPath, files: Sequence[FileEntry], experiment_id: str) -> "ExperimentStore":
        """Returns the reader of a store.

        Args:
            folder: folder that `pack_plates` wrote to.
            files: the files that belong to the store; other files in the folder are ignored.
            experiment_id: the experiment.

        Raises:
            ArtifactMissing: a table of the store is not listed in `files` or not in the folder.
            CorruptArtifact: a table differs from the commit record, or the tables do not agree with each other.
        """
        listed = {entry.name: PublishedFile(folder / entry.name, entry) for entry in files}
        missing = [name for name in TABLES if name not in listed]
        if missing:
            message = f"{folder}: no file {missing[0]!r} in this store; it has {', '.join(sorted(listed)[:10])}"
            raise ArtifactMissing(message)
        description = json.loads(listed["store.json"].read_bytes())
        store = cls(
            experiment_id=experiment_id,
            sites=read_table(listed["sites.parquet"], SITES),
            wells=read_table(listed["wells.parquet"], WELLS),
            imaging=_imaging(description),
            _folder=folder,
            _plates=tuple(PlateSpec.model_validate(plate) for plate in description["plates"]),
            _shard_bytes={entry.name: entry.n_bytes for entry in files if ".zarr/c/" in entry.name},
        )
        store._check()
        return store

    @property
    def n_sites(self) -> int:
        """Number of sites of all plates."""
        return self.sites.height

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels, in order."""
        return self.imaging.channel_names

    @property
    def n_channels(self) -> int:
        """Number of channels of every site."""
        return self._plates[0].n_channels

    @property
    def dtype(self) -> str:
        """Type of the pixels of every site, a name of numpy."""
        return self._plates[0].dtype

    @property
    def height(self) -> int:
        """Image height in pixels."""
        return self._plates[0].height

    @property
    def width(self) -> int:
        """Image width in pixels."""
        return self._plates[0].width

    def read(
        self,
        indices: Sequence[int] | Integer[np.ndarray, "site"],
        *,
        out: UInt[np.ndarray, "site channel y x"] | None = None,
    ) -> UInt[np.ndarray, "site channel y x"]:
        """Returns the pixels of sites, in the order of `indices`.

        Args:
            indices: rows of `sites`, in any order, repetitions allowed.
            out: contiguous memory to decode into; new memory by default.

        Raises:
            IndexError: the store has no such row.
            CorruptArtifact: a shard is damaged; the message names the shard and the site.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        outside = wanted[(wanted < 0) | (wanted >= self.n_sites)]
        if outside.size:
            message = f"experiment {self.experiment_id} has sites 0 to {self.n_sites - 1}; asked for {outside[0]}"
            raise IndexError(message)
        shape = (len(wanted), *self._plates[0].site_shape)
        images = np.empty(shape, dtype=self.dtype) if out is None else out
        starts = np.cumsum([0, *(plate.n_sites for plate in self._plates)])
        plate_of = np.searchsorted(starts, wanted, side="right") - 1
        row_of = wanted - starts[plate_of]
        for number in np.unique(plate_of):
            plate = self._plates[number]
            shard_of = row_of // plate.shard_sites
            for shard in np.unique(shard_of[plate_of == number]):
                places = np.flatnonzero((plate_of == number) & (shard_of == shard))
                self._read_shard(plate, int(shard), row_of[places] % plate.shard_sites, images, places)
        return images

    def blocks(
        self,
        n_sites_per_block: int,
        *,
        indices: Sequence[int] | Integer[np.ndarray, "site"] | None = None,
        n_threads: int = 2,
        n_ahead: int = 2,
        empty: Empty = np.empty,
    ) -> Iterator[tuple[Integer[np.ndarray, "site"], UInt[np.ndarray, "site channel y x"]]]:
        """Yields indices and pixels block by block, decoded by threads ahead of the caller.

        Args:
            n_sites_per_block: sites per block; the last block may be smaller.
            indices: rows of `sites` to read, in this order; all rows by default.
            n_threads: threads that read and decode.
            n_ahead: blocks that may wait for the caller.
            empty: returns the memory of a block, for example memory that a GPU can copy from.
        """
        wanted = np.arange(self.n_sites) if indices is None else np.asarray(indices, dtype=np.int64)
        waiting: deque[Block] = deque()
        with ThreadPoolExecutor(n_threads) as pool:
            try:
                for start in range(0, len(wanted), n_sites_per_block):
                    rows = wanted[start : start + n_sites_per_block]
                    waiting.append((rows, *self._begun(pool, rows, empty)))
                    if len(waiting) > n_ahead:
                        yield _finished(waiting.popleft())
                while waiting:
                    yield _finished(waiting.popleft())
            finally:
                pool.shutdown(cancel_futures=True)

    def _begun(
        self, pool: ThreadPoolExecutor, rows: Integer[np.ndarray, "site"], empty: Empty
    ) -> tuple[UInt[np.ndarray, "site channel y x"], list[Future]]:
        """The memory of a block, and the threads' work on it: so that a large block is decoded by all of them."""
        images = empty((len(rows), *self._plates[0].site_shape), self.dtype)
        parts = [slice(at, at + SITES_PER_TASK) for at in range(0, len(rows), SITES_PER_TASK)]
        return images, [pool.submit(self.read, rows[part], out=images[part]) for part in parts]

    def _read_shard(
        self,
        plate: PlateSpec,
        shard: int,
        rows: Integer[np.ndarray, "site"],
        images: UInt[np.ndarray, "all channel y x"],
        places: Integer[np.ndarray, "site"],
    ) -> None:
        """Decodes rows of one shard into `images[places]`."""
        name = plate.shard_name(shard)
        positions = self._positions(plate, name)[rows]
        if (positions[:, 1] < 0).any():
            message = (
                f"{self._folder / name}: row {rows[positions[:, 1] < 0][0]} is in sites.parquet but not in the shard"
            )
            raise CorruptArtifact(message)
        chunks = _read_ranges(self._folder / name, positions)
        for place, row, chunk in zip(places, rows, chunks, strict=True):
            decode_site(chunk, images[place], source=f"{self._folder / name}, row {row}")

    def _positions(self, plate: PlateSpec, name: str) -> Integer[np.ndarray, "site 2"]:
        """Returns offset and length of every chunk in a shard; the index is read and checked once."""
        known = self._indices.get(name)
        if known is not None:
            return known
        path, end = self._folder / name, self._shard_bytes.get(name)
        if end is None:
            message = f"{path}: not among the files of this store; {HOW_TO_REPAIR}"
            raise ArtifactMissing(message)
        span = np.array([[end - plate.index_bytes, plate.index_bytes]])
        (content,) = _read_ranges(path, span)
        table, checksum = content[:-CRC_BYTES], content[-CRC_BYTES:]
        if len(content) != plate.index_bytes or checksum_of(table) != checksum:
            message = f"{path}: damaged index at byte {end - plate.index_bytes}; {HOW_TO_REPAIR}"
            raise CorruptArtifact(message)
        positions = as_positions(np.frombuffer(table, dtype="<u8").reshape(plate.shard_sites, 2))
        self._indices[name] = positions
        return positions

    def _check(self) -> None:
        expected = [(plate.plate_id, row) for plate in self._plates for row in range(plate.n_sites)]
        shapes = {(plate.site_shape, plate.dtype) for plate in self._plates}
        if self.sites.select("plate_id", "row_index").rows() != expected or len(shapes) != 1:
            message = (
                f"{self._folder}: sites.parquet and store.json disagree, or plates differ in shape; {HOW_TO_REPAIR}"
            )
            raise CorruptArtifact(message)


def _finished(block: Block) -> tuple[Integer[np.ndarray, "site"], UInt[np.ndarray, "site channel y x"]]:
    rows, images, tasks = block
    for task in tasks:
        task.result()
    return rows, images


def _imaging(description: dict[str, Any]) -> Imaging:
    """Returns how the images were taken; stores of format 1 have the channel names only."""
    return Imaging.model_validate(description.get("imaging") or {"channel_names": description["channel_names"]})


def _read_ranges(path: UPath, positions: Integer[np.ndarray, "range 2"]) -> list[bytes]:
    """Returns the bytes at (offset, length) pairs of a file."""
    try:
        if is_local(path):
            with Path(path.path).open("rb", buffering=0) as stream:
                return [os.pread(stream.fileno(), int(length), int(offset)) for offset, length in positions]
        ends = positions.sum(axis=1).tolist()
        return list(path.fs.cat_ranges([path.path] * len(ends), positions[:, 0].tolist(), ends, on_error="raise"))
    except FileNotFoundError as error:
        message = f"{path}: listed in the commit record but missing; {HOW_TO_REPAIR}"
        raise ArtifactMissing(message) from error
