"""File names, sizes and times below the landing zone: fast on local disks, generic on any other fsspec path.

A sensor reads them every few seconds, so local folders are read with `os.scandir` and one `os.stat` per file. Both ways
give the same stamps. Image content is never read here. What a sensor keeps from tick to tick is in `landing_readings`.
"""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from upath import UPath

from cellassets.storage.artifact import is_local

Stamp = list[Any]
TOKENS = ("etag", "md5Hash", "mtime", "updated", "created")  # the first one that the file system gives
FolderId = tuple[int, int]
EntryKind = Literal["folder", "file", "broken_link", "loop", "outside", "special", "unreadable_name"]
# what operating systems and storage appliances leave in folders, besides names that begin with a dot
SYSTEM_NAMES = {"thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "__macosx", "@eadir"}


@dataclass(frozen=True)
class FolderContent:
    """One folder as it was read: its files, and the names of the folders in it with whether they are symbolic links."""

    stamps: list[Stamp]
    folders: list[tuple[str, bool]]


@dataclass(frozen=True)
class Entry:
    """One entry of a folder.

    `stamp` is that of a file in an object store, whose listing gives it without a further request; None otherwise.
    A `loop` is a symbolic link to a folder that contains the link, `outside` one that leaves the experiment's folder.
    `special` are pipes, sockets and devices. Of an `unreadable_name`, which is not UTF-8, the name is an escaped form.
    """

    name: str
    kind: EntryKind
    stamp: Stamp | None = None


def list_entries(folder: UPath, *, within: UPath | None = None) -> list[Entry]:
    """Returns the entries of a folder, sorted by name; none where the folder does not exist.

    Names of the system are left out: file systems, snapshots and copying tools keep their own files there.

    Args:
        folder: the landing zone, or a folder in it.
        within: the experiment's folder, which no symbolic link may leave; None for the landing zone, whose experiments
            may be links.
    """
    if is_local(folder):
        entries = _local_entries(folder.path, None if within is None else os.path.realpath(within.path))
    else:
        folder.fs.invalidate_cache()  # a cached listing would hide what landed since the last call
        entries = _remote_entries(folder)
    return sorted((entry for entry in entries if not is_of_system(entry.name)), key=lambda entry: entry.name)


def stamp(landing: UPath, relative: str) -> Stamp | None:
    """Returns name, size and change token of one file, or None where it does not exist.

    The token changes with the content: it is the modification time on a local disk, the object's tag elsewhere.

    Args:
        landing: the landing zone.
        relative: path of the file below it, with '/'.
    """
    if not is_local(landing):
        return _remote_stamp(landing, relative)
    try:
        status = os.stat(f"{landing.path}/{relative}")  # noqa: PTH116  called thousands of times per tick
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
        return None
    return _local_stamp(f"/{relative}", status)


def read_folder(folder: str, within: Callable[[], str]) -> FolderContent:
    """Returns the files and folders of one local folder; nothing where it does not exist any more.

    A file that vanishes during the call is left out, and so are the files of the system, and whatever else is neither a
    file nor a folder.

    Args:
        folder: its path.
        within: returns the real path of the experiment's folder, which no symbolic link may leave.
    """
    found = FolderContent([], [])
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):  # renamed since it was listed, as copying tools do
        return found
    with entries:
        for entry in entries:
            if is_of_system(entry.name) or (entry.is_symlink() and _is_outside(entry, within())):
                continue
            try:
                status = entry.stat()
            except OSError as error:
                if isinstance(error, PermissionError):
                    raise
                continue  # it vanished, or is a link to nothing or to itself
            if stat.S_ISREG(status.st_mode):
                found.stamps.append(_local_stamp(printable(entry.name), status))
            elif _is_folder(entry):
                found.folders.append((entry.name, entry.is_symlink()))
    return found


def list_objects(landing: UPath, name: str) -> dict[str, list[Stamp]]:
    """Returns the stamps of all files of an experiment by the folder that they are in, from one listing.

    The experiment's own folder has the empty name. Files of the system are left out.
    """
    folder = landing / name
    folder.fs.invalidate_cache()
    found: dict[str, list[Stamp]] = {"": []}
    for path, info in folder.fs.find(folder.path, detail=True).items():
        relative = path[len(folder.path) :].strip("/")
        if not any(map(is_of_system, relative.split("/"))):
            place, _, file = relative.rpartition("/")
            found.setdefault(place, []).append(_stamp_of(file, info))
    return found


def printable(name: str) -> str:
    """Returns a file name in a form that can be written as UTF-8; bytes that are not UTF-8 become escapes."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def is_of_system(name: str) -> bool:
    """Returns true for names of files and folders that systems leave behind, which are never looked at."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def _local_entries(root: str, within: str | None) -> list[Entry]:
    try:
        with os.scandir(root) as found:
            above = ids_above(root)
            return [Entry(printable(entry.name), _kind_of(entry, above, within)) for entry in found]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _kind_of(entry: os.DirEntry[str], above: frozenset[FolderId], within: str | None) -> EntryKind:
    if printable(entry.name) != entry.name:
        return "unreadable_name"
    if entry.is_symlink():
        if not os.path.exists(entry.path):  # noqa: PTH110
            return "broken_link"
        if _is_folder(entry) and id_of(entry.stat()) in above:
            return "loop"
        if _is_outside(entry, within):
            return "outside"
    if _is_folder(entry):
        return "folder"
    return "file" if entry.is_file() else "special"


def _is_outside(entry: os.DirEntry[str], within: str | None) -> bool:
    return within is not None and not os.path.realpath(entry.path).startswith(f"{within}/")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself


def ids_above(folder: str) -> frozenset[FolderId]:
    """Returns the identities of a folder and of all folders above it."""
    path, ids = os.path.realpath(folder), set()
    while True:
        ids.add(id_of(os.stat(path)))  # noqa: PTH116
        above = os.path.dirname(path)  # noqa: PTH120
        if above == path:
            return frozenset(ids)
        path = above


def id_of(status: os.stat_result) -> FolderId:
    """Returns what identifies a file or folder, whatever its name."""
    return status.st_dev, status.st_ino


def _local_stamp(name: str, status: os.stat_result) -> Stamp:
    return [name, status.st_size, str(status.st_mtime)]


def _remote_entries(landing: UPath) -> list[Entry]:
    try:
        found = landing.fs.ls(landing.path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [_remote_entry(_last_part(info["name"]), info) for info in found]


def _remote_entry(name: str, info: Mapping[str, Any]) -> Entry:
    return Entry(name, "folder") if info["type"] == "directory" else Entry(name, "file", _stamp_of(f"/{name}", info))


def _remote_stamp(landing: UPath, relative: str) -> Stamp | None:
    path = landing / relative
    try:
        info = path.fs.info(path.path, is_object=True)  # an argument of our client, which others ignore
    except FileNotFoundError:
        return None
    return _stamp_of(f"/{relative}", info) if info["type"] == "file" else None


def _stamp_of(name: str, info: Mapping[str, Any]) -> Stamp:
    token = next((str(info[key]) for key in TOKENS if key in info), "")
    return [name, int(info.get("size") or 0), token]


def _last_part(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
