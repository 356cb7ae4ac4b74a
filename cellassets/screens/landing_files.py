"""File names, sizes and times below the landing zone: fast on local disks, generic on any other fsspec path.

A sensor reads them every few seconds, so local folders are read with `os.scandir` and one `os.stat` per file. Both ways
give the same stamps. Image content is never read here.
"""

import os
import stat
from collections.abc import Iterator, Mapping
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
class Entry:
    """One entry of a folder.

    A `loop` is a symbolic link to a folder that contains the link, `outside` one that leaves the experiment's folder.
    `special` are pipes, sockets and devices. Of an `unreadable_name`, which is not UTF-8, the name is an escaped form.
    """

    name: str
    kind: EntryKind


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
    return sorted((entry for entry in entries if not _is_of_system(entry.name)), key=lambda entry: entry.name)


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


def stamp_folder(landing: UPath, name: str) -> list[Stamp]:
    """Returns the stamps of every file in a folder of the landing zone and in the folders below it.

    A file that vanishes during the call is left out, and so are the files of the system, and whatever else is not
    listed as a file. A symbolic link to a folder above it is not followed.
    """
    if not is_local(landing):
        return _remote_stamps(landing, name)
    root, folder = landing.path, f"{landing.path}/{name}"
    above = _ids_above(root) | _ids_above(folder)
    files = _local_files(folder, above, os.path.realpath(folder))
    return [_local_stamp(printable(path[len(root) :]), status) for path, status in files]


def printable(name: str) -> str:
    """Returns a file name in a form that can be written as UTF-8; bytes that are not UTF-8 become escapes."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def _is_of_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def _local_entries(root: str, within: str | None) -> list[Entry]:
    try:
        with os.scandir(root) as found:
            above = _ids_above(root)
            return [Entry(printable(entry.name), _kind_of(entry, above, within)) for entry in found]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _kind_of(entry: os.DirEntry[str], above: frozenset[FolderId], within: str | None) -> EntryKind:
    if printable(entry.name) != entry.name:
        return "unreadable_name"
    if entry.is_symlink():
        if not os.path.exists(entry.path):  # noqa: PTH110
            return "broken_link"
        if _is_folder(entry) and _id_of(entry.stat()) in above:
            return "loop"
        if _is_outside(entry, within):
            return "outside"
    if _is_folder(entry):
        return "folder"
    return "file" if entry.is_file() else "special"


def _is_outside(entry: os.DirEntry[str], within: str | None) -> bool:
    return within is not None and not os.path.realpath(entry.path).startswith(f"{within}/")


def _local_files(folder: str, above: frozenset[FolderId], within: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:  # renamed since it was listed, as copying tools do with temporary names
        return
    with entries:
        for entry in entries:
            if _is_of_system(entry.name) or (entry.is_symlink() and _is_outside(entry, within)):
                continue
            try:
                status = entry.stat()
            except OSError as error:
                if isinstance(error, PermissionError):
                    raise
                continue  # it vanished, or is a link to nothing or to itself
            if stat.S_ISREG(status.st_mode):
                yield entry.path, status
            elif _is_folder(entry) and _id_of(status) not in above:
                yield from _local_files(entry.path, above | {_id_of(status)}, within)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself


def _ids_above(folder: str) -> frozenset[FolderId]:
    """Returns the identities of a folder and of all folders above it."""
    path, ids = os.path.realpath(folder), set()
    while True:
        ids.add(_id_of(os.stat(path)))  # noqa: PTH116
        above = os.path.dirname(path)  # noqa: PTH120
        if above == path:
            return frozenset(ids)
        path = above


def _id_of(status: os.stat_result) -> FolderId:
    return status.st_dev, status.st_ino


def _local_stamp(name: str, status: os.stat_result) -> Stamp:
    return [name, status.st_size, str(status.st_mtime)]


def _remote_entries(landing: UPath) -> list[Entry]:
    try:
        found = landing.fs.ls(landing.path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [Entry(_last_part(info["name"]), "folder" if info["type"] == "directory" else "file") for info in found]


def _remote_stamp(landing: UPath, relative: str) -> Stamp | None:
    path = landing / relative
    try:
        info = path.fs.info(path.path)
    except FileNotFoundError:
        return None
    return _stamp_of(f"/{relative}", info) if info["type"] == "file" else None


def _remote_stamps(landing: UPath, name: str) -> list[Stamp]:
    """Returns the stamps of all files in a folder, from one listing."""
    folder = landing / name
    found = folder.fs.find(folder.path, detail=True)
    names = {path: path[len(folder.path) :] for path in found}
    return [
        _stamp_of(f"/{name}{names[path]}", info)
        for path, info in found.items()
        if not any(map(_is_of_system, names[path].strip("/").split("/")))
    ]


def _stamp_of(name: str, info: Mapping[str, Any]) -> Stamp:
    token = next((str(info[key]) for key in TOKENS if key in info), "")
    return [name, int(info.get("size") or 0), token]


def _last_part(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
