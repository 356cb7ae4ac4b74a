"""Removes what `cellassets.storage.superseded` found that nothing needs.

The commit record goes first and its files afterwards: a process that is killed in between leaves a folder without a
record, which the next removal finds as unfinished work. No record is ever left without its files. Only what is listed
below the lake is removed, never a path that a record names.

Each piece is looked at again just before it goes. On an object store every request carries the generation that was
seen, so that an object which somebody wrote meanwhile stays.
"""

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from upath import UPath

from cellassets.errors import ArtifactMissing, CorruptArtifact
from cellassets.storage.artifact import Artifact, is_local
from cellassets.storage.holdings import StoredFile, list_files
from cellassets.storage.lake import Lake
from cellassets.storage.objects import in_parallel
from cellassets.storage.superseded import Piece


def remove(lake: Lake, piece: Piece, *, before: datetime) -> int:
    """Returns the number of bytes that were freed; 0 if the piece is needed or gone by now.

    Args:
        lake: the lake.
        piece: a piece of a survey of this lake without a reason to stay.
        before: what was written at this time or later stays.
    """
    if piece.reason:
        message = f"{piece.name} stays ({piece.reason}); only pieces without a reason can be removed"
        raise ValueError(message)
    if piece.file is not None:
        return _remove_file(lake.root, piece.file)
    artifact = lake.artifact(piece.kind, *piece.keys)
    n_bytes = 0
    if piece.generation:
        if artifact.generation() <= piece.generation:  # the newer one was removed, so this one is current again
            return 0
        n_bytes += _remove_record(artifact, piece.generation)
    if piece.folder and not _is_used(artifact, piece.folder):
        n_bytes += _remove_folder(artifact.data / piece.folder, before.timestamp())
    return n_bytes


def _is_used(artifact: Artifact, folder: str) -> bool:
    """Returns true if a commit record names a folder, or if one cannot be read."""
    for generation in artifact.generations():
        try:
            if artifact.record_of(generation).folder == folder:
                return True
        except ArtifactMissing:
            continue
        except CorruptArtifact:
            return True
    return False


def _remove_record(artifact: Artifact, generation: int) -> int:
    path = artifact.record_path(generation)
    return sum(_remove_file(path, file) for parts, file in list_files(path.parent) if parts == (path.name,))


def _remove_folder(folder: UPath, before_s: float) -> int:
    """Removes a folder, unless one of its files was written after a time: then a run is at work in it."""
    files = [file for _, file in list_files(folder)]
    if any(file.written_s >= before_s for file in files):
        return 0
    freed = in_parallel(_remove_file, [(folder, file) for file in files])
    if is_local(folder):
        for place, _, _ in os.walk(folder.path, topdown=False):  # what another removal took meanwhile is passed over
            with suppress(OSError):  # not empty: a run began to write there
                os.rmdir(place)  # noqa: PTH106
    return sum(freed)


def _remove_file(beside: UPath, file: StoredFile) -> int:
    """Removes a file on the file system of another path; returns its size, 0 if it is gone or was written again."""
    try:
        if is_local(beside):
            Path(file.path).unlink()
        elif file.generation is None:
            beside.fs.rm_file(file.path)
        else:
            beside.fs.rm_file(file.path, generation=file.generation)
    except (FileNotFoundError, FileExistsError):
        return 0
    return file.n_bytes
