"""Which files a training reads: the stores of its experiments and their quality tables, by place and checksum.

The stage `checkpoint` makes them from what its plan pins. Other processes get them as JSON (`processes/task.py`), so
that all of them read the same publications.
"""

import polars as pl
from upath import UPath

from cellassets.configuration import Parameters
from cellassets.images.reader import ExperimentStore
from cellassets.storage.artifact import FileEntry, PublishedFile
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import QUALITY


class Folder(Parameters):
    """A published folder: a local path or an fsspec URL, and the files that belong to it."""

    path: str
    files: tuple[FileEntry, ...]

    def file(self, name: str) -> PublishedFile:
        """Returns one of the files, whose content is compared with its checksum when it is read."""
        entry = next(entry for entry in self.files if entry.name == name)
        return PublishedFile(UPath(self.path) / name, entry)


class Source(Parameters):
    """One experiment of a training.

    Attributes:
        experiment_id: the experiment.
        store: its `plate_store`.
        quality: its `plate_quality`; None if flagged sites are used too.
    """

    experiment_id: str
    store: Folder
    quality: Folder | None = None

    def open_store(self) -> ExperimentStore:
        """Returns the reader of the images.

        Raises:
            CorruptArtifact: a table differs from its checksum.
        """
        return ExperimentStore.open(UPath(self.store.path), self.store.files, self.experiment_id)

    def read_quality(self) -> pl.DataFrame | None:
        """Returns the QUALITY table, if there is one.

        Raises:
            CorruptArtifact: it differs from its checksum.
        """
        return None if self.quality is None else read_table(self.quality.file("quality.parquet"), QUALITY)
