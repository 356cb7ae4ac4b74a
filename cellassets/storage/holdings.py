"""What lies in a lake, by address: commit records, data folders and temporary files, with their sizes and ages.

It is read by listing the lake, without opening a file. Times are those at which the storage wrote a file: the
modification time of a local file, the time of creation of an object. Commit records hold no time.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from upath import UPath

from cellassets.errors import PartitionKeyError
from cellassets.fingerprint import check_partition_key
from cellassets.progress import Progress, no_progress
from cellassets.storage.artifact import generation_of, is_local
from cellassets.storage.lake import DATA, RECORDS, Lake
from cellassets.storage.records import Address

TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}")  # as `atomic_write` and `create_file` name them
WRITTEN = ("updated", "created")  # fields in which object stores report when an object was written


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a lake: its path, its size, the time (seconds since 1970) at which it was written.

    `generation` is that of the object, None on a local disk.
    """

    path: str
    n_bytes: int
    written_s: float
    generation: int | None = None

    @property
    def is_temporary(self) -> bool:
        """True for a file that a process began to write. A living process renames or removes it at once."""
        return TEMPORARY.fullmatch(self.path.rpartition("/")[2]) is not None


@dataclass(slots=True)
class StoredFolder:
    """A data folder: number and size of its files, and when the newest of them was written."""

    n_files: int = 0
    n_bytes: int = 0
    written_s: float = 0.0


@dataclass(slots=True)
class Holding:
    """What lies at one address: commit records by generation, data folders by name."""

    address: Address
    records: dict[int, StoredFile] = field(default_factory=dict)
    folders: dict[str, StoredFolder] = field(default_factory=dict)

    @property
    def newest(self) -> int:
        """The generation of the current publication, 0 where nothing is published."""
        return max(self.records, default=0)

    def superseded_s(self, generation: int) -> float:
        """Returns when a publication was superseded: when the record of the next one was written."""
        return self.records[min(number for number in self.records if number > generation)].written_s


@dataclass(frozen=True)
class Holdings:
    """What lies in a lake.

    Attributes:
        by_address: everything that belongs to an address.
        temporaries: temporary files, each with its kind.
    """

    by_address: Mapping[Address, Holding]
    temporaries: tuple[tuple[str, StoredFile], ...]


def read_holdings(lake: Lake, n_keys: Mapping[str, int], *, progress: Progress = no_progress) -> Holdings:
    """Returns what lies in a lake, by listing it. What belongs to no kind is left out.

    Args:
        lake: the lake.
        n_keys: number of keys of each kind of artefact.
        progress: receives the number of kinds that were listed.
    """
    found: dict[Address, Holding] = {}
    temporaries = []
    for n_done, (kind, depth) in enumerate(n_keys.items()):
        progress(n_done, len(n_keys), "kinds listed")
        for tree in (RECORDS, DATA):
            for parts, file in list_files(lake.root.joinpath(tree, *kind.split("/"))):
                if file.is_temporary:
                    temporaries.append((kind, file))
                elif len(parts) > depth and _are_keys(parts[:depth]):
                    address = (kind, parts[:depth])
                    _add(found.setdefault(address, Holding(address)), tree, parts[depth:], file)
    return Holdings(found, tuple(temporaries))


def list_files(folder: UPath) -> Iterator[tuple[tuple[str, ...], StoredFile]]:
    """Yields every file below a folder, with the parts of its path below it. Links are left out, not followed."""
    if is_local(folder):
        for place, _, names in os.walk(folder.path, onerror=_raise_unless_gone):
            below = Path(place).relative_to(folder.path).parts
            yield from (((*below, file.path.rpartition("/")[2]), file) for file in _local_files(place, names))
        return
    folder.fs.invalidate_cache()  # another machine may have written meanwhile
    start = len(folder.path.rstrip("/")) + 1
    for path, info in folder.fs.find(folder.path, detail=True).items():
        yield tuple(path[start:].split("/")), _stored_object(path, info)


def _raise_unless_gone(error: OSError) -> None:
    """A folder of records that cannot be listed must not look as if it were empty."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _local_files(place: str, names: Iterable[str]) -> Iterator[StoredFile]:
    for name in names:
        path = os.path.join(place, name)  # noqa: PTH118  of a million files
        try:
            status = os.lstat(path)
        except FileNotFoundError:  # removed or renamed meanwhile
            continue
        if not os.path.islink(path):  # noqa: PTH114
            yield StoredFile(path, status.st_size, status.st_mtime)


def _stored_object(path: str, info: Mapping[str, object]) -> StoredFile:
    written = next(time for name in WRITTEN if isinstance(time := info.get(name), datetime))
    generation = info.get("generation")
    size = info["size"]
    return StoredFile(path, int(str(size)), written.timestamp(), None if generation is None else int(str(generation)))


def _are_keys(parts: Iterable[str]) -> bool:
    try:
        for key in parts:
            check_partition_key(key, "key")
    except PartitionKeyError:
        return False
    return True


def _add(holding: Holding, tree: str, parts: tuple[str, ...], file: StoredFile) -> None:
    if tree == RECORDS:
        generation = generation_of(parts[0]) if len(parts) == 1 else 0
        if generation:
            holding.records[generation] = file
    elif len(parts) > 1:
        folder = holding.folders.setdefault(parts[0], StoredFolder())
        folder.n_files += 1
        folder.n_bytes += file.n_bytes
        folder.written_s = max(folder.written_s, file.written_s)
