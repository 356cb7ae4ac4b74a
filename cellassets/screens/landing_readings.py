"""What a process has read of the folders in a landing zone, so that an idle sensor tick reads none of them again.

Of each folder it keeps one digest of the names, sizes and times of its files. A local folder is read again when its
identity or its times changed, which happens when a file in it is added, removed or renamed. A file that is overwritten
in place changes no folder; therefore every folder is also read again when its reading has a certain age. In an object
store there are no folders: an experiment is listed again when its listing has that age. A process that has read nothing
yet reads everything, and gets the same digests.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from upath import UPath

from cellassets.fingerprint import fingerprint
from cellassets.screens.landing_files import FolderId, Stamp, id_of, ids_above, list_objects, printable, read_folder
from cellassets.storage.artifact import is_local

SETTLED_NS = 2_000_000_000  # a change this shortly after another one may leave the time as it is (FAT: 2 s)
MAX_FILES_READ_AGAIN = 50_000  # for their age, in one scan; a slow file server answers 10,000 requests in some seconds


@dataclass
class Reading:
    """One folder as it was read.

    Attributes:
        state: identity and times of the folder, which change with its entries; empty in an object store.
        read_at: the time of the scan.
        digest: of names, sizes and times of its files.
        n_files: number of its files.
        folders: names of the folders in it, and whether they are symbolic links.
        is_due: it is to be read again because of its age.
    """

    state: tuple[int, ...]
    read_at: datetime
    digest: str
    n_files: int
    folders: tuple[tuple[str, bool], ...] = ()
    is_due: bool = False


class Readings:
    """The readings of all experiments in one landing zone."""

    def __init__(self) -> None:
        self._now = datetime.now(UTC)
        self._folders: dict[str, dict[str, Reading]] = {}
        self._vouched: dict[str, list[Stamp | None]] = {}

    def begin(self, now: datetime, recheck: timedelta) -> None:
        """Begins a scan: the oldest readings become due.

        Args:
            now: the time of the scan, with a time zone.
            recheck: the age at which a folder is read again. Of very many files some are read at each scan.
        """
        self._now = now
        every = (reading for folders in self._folders.values() for reading in folders.values())
        old = [reading for reading in every if not timedelta(0) <= now - reading.read_at < recheck]
        n_files = 0
        for reading in sorted(old, key=lambda reading: reading.read_at):
            if n_files >= MAX_FILES_READ_AGAIN:
                break
            reading.is_due = True
            n_files += reading.n_files

    def digests(self, landing: UPath, name: str, vouched: list[Stamp | None] | None) -> list[tuple[str, str]]:
        """Returns path and digest of each folder of an experiment that has files.

        Args:
            landing: the landing zone.
            name: the experiment's folder.
            vouched: stamps of the marker and what was written with it: when they change, everything is read again. None
                where there is no marker: everything is read.

        Raises:
            FileNotFoundError: the landing zone has no such folder.
        """
        known = self._folders.get(name, {}) if vouched is not None and self._vouched.get(name) == vouched else {}
        if is_local(landing):
            found = _LocalFolders(landing.path, name, known, self._now).read()
        elif known and not any(reading.is_due for reading in known.values()):
            found = known
        else:
            listed = list_objects(landing, name)
            found = {folder: _reading((), self._now, stamps) for folder, stamps in listed.items()}
        self._folders[name] = found
        self._vouched[name] = vouched or []
        return sorted((printable(folder), reading.digest) for folder, reading in found.items() if reading.n_files)

    def read_at(self, name: str) -> datetime:
        """Returns when the folder of an experiment was read that was read longest ago."""
        return min(reading.read_at for reading in self._folders[name].values())

    def forget(self, name: str) -> None:
        """Has an experiment read completely the next time."""
        self._folders.pop(name, None)

    def keep(self, names: set[str]) -> None:
        """Forgets all other experiments."""
        for name in self._folders.keys() - names:
            del self._folders[name], self._vouched[name]


class _LocalFolders:
    """The folders of an experiment on a local disk.

    Args:
        root: the landing zone.
        name: the experiment's folder.
        known: what was read of it before.
        now: the time of the scan.
    """

    def __init__(self, root: str, name: str, known: Mapping[str, Reading], now: datetime) -> None:
        self.root, self.folder, self.known, self.now = root, f"{root}/{name}", known, now
        self.found: dict[str, Reading] = {}

    def read(self) -> dict[str, Reading]:
        """Returns the readings by the folder's path below the experiment's, whose own path is empty."""
        self._visit("", os.stat(self.folder), frozenset())  # noqa: PTH116
        return self.found

    def _visit(self, relative: str, status: os.stat_result, walked: frozenset[FolderId]) -> None:
        reading = self._reading(relative, status)
        self.found[relative] = reading
        walked |= {id_of(status)}
        for name, is_link in reading.folders:
            below = f"{relative}/{name}" if relative else name
            try:
                status = os.stat(f"{self.folder}/{below}")  # noqa: PTH116  called thousands of times per tick
            except OSError as error:
                if isinstance(error, PermissionError):
                    raise
                continue  # it vanished
            if id_of(status) not in walked and not (is_link and id_of(status) in self._above):
                self._visit(below, status, walked)

    def _reading(self, relative: str, status: os.stat_result) -> Reading:
        state = (*id_of(status), status.st_mtime_ns, status.st_ctime_ns)
        before = self.known.get(relative)
        if before is not None and before.state == state and not before.is_due:
            return before
        is_settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED_NS
        content = read_folder(f"{self.folder}/{relative}" if relative else self.folder, lambda: self._real)
        return _reading(state if is_settled else (), self.now, content.stamps, content.folders)

    @cached_property
    def _real(self) -> str:
        return os.path.realpath(self.folder)

    @cached_property
    def _above(self) -> frozenset[FolderId]:
        return ids_above(self.root) | ids_above(self.folder)


def _reading(
    state: tuple[int, ...], now: datetime, stamps: Sequence[Stamp], folders: Sequence[tuple[str, bool]] = ()
) -> Reading:
    return Reading(state, now, fingerprint({"files": sorted(stamps)}), len(stamps), tuple(folders))
