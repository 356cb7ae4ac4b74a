"""Artefacts: sets of files that are published completely or not at all.

An artefact has an address, which consists of its kind and its keys. On disk it has two folders:

    records/<kind>/<key>/.../000001.json      commit records, one file for each publication
    data/<kind>/<key>/.../<data folder>/...   the published files, one folder for each publication

A commit record lists every file with its size and CRC32C and is created in one atomic step that fails if the file is
already there. The record with the highest number is the current one. Readers use only the records, so they see a
publication completely or not at all. Two writers cannot both publish number 7: one succeeds and the other gets an
error. Records are never changed, so a reader that knows the number of a publication can read exactly this publication
later.
"""

import base64
import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
from pydantic import ValidationError
from upath import UPath

from cellassets.configuration import Parameters
from cellassets.errors import ArtifactMissing, CorruptArtifact, StaleArtifact
from cellassets.storage.objects import in_parallel
from cellassets.storage.unwritable import explained

READ_BLOCK_BYTES = 1 << 22
N_VERIFIED_AT_ONCE = 16


class FileEntry(Parameters):
    """One published file: its name below the data folder, its size in bytes and its CRC32C."""

    name: str
    n_bytes: int
    crc32c: int


@dataclass(frozen=True)
class PublishedFile:
    """One file of a publication: where it is, and what its commit record says about it."""

    path: UPath
    entry: FileEntry

    def read_bytes(self) -> bytes:
        """Returns the content of the file.

        Raises:
            ArtifactMissing: the file is gone.
            CorruptArtifact: size or checksum differ from the commit record.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError as error:
            message = f"{self.path}: the file of this publication is gone; materialise the asset that reads it again"
            raise ArtifactMissing(message) from error
        found = describe_content(content, self.entry.name)
        if found != self.entry:
            message = f"{_difference(self.path, found, self.entry)}; run `cellassets artifact verify`"
            raise CorruptArtifact(message)
        return content

    def __str__(self) -> str:
        """Returns the path."""
        return str(self.path)


class Record(Parameters):
    """What an artefact was made from and which files it consists of.

    Attributes:
        kind: kind of artefact, such as `plate_store`.
        keys: keys of the artefact, in the order of its kind's axes.
        plan_fingerprint: fingerprint of the plan that it was made by. Equal plans are not made twice.
        fingerprint: what the plans of later stages depend on. It equals `plan_fingerprint`, except where a stage
            fingerprints its result (`raw_plates`: copying the same folder again makes nothing stale).
        generation: number of this publication at this address, from 1.
        folder: name of the data folder.
        inputs: values that the plan's fingerprint was computed from.
        files: the published files, sorted by name.
        summary: values for people and for cheap decisions; each stage has a model of its own for them.
    """

    kind: str
    keys: tuple[str, ...]
    plan_fingerprint: str
    fingerprint: str
    generation: int
    folder: str
    inputs: dict[str, Any]
    files: tuple[FileEntry, ...]
    summary: dict[str, Any]


@dataclass(frozen=True)
class Artifact:
    """One address at which something is, or will be, published.

    Attributes:
        kind: kind of artefact.
        keys: its keys.
        records: folder of its commit records.
        data: folder of its data folders.
    """

    kind: str
    keys: tuple[str, ...]
    records: UPath
    data: UPath

    def __str__(self) -> str:
        """Returns the address for people, such as `plate_store of HUVEC-1`."""
        return describe_address(self.kind, self.keys)

    def generation(self) -> int:
        """Returns the number of the current publication, 0 where nothing is published."""
        return max(self.generations(), default=0)

    def generations(self) -> list[int]:
        """Returns the numbers of all publications that are there, ascending. Superseded ones may have been removed."""
        return sorted(filter(None, map(generation_of, names_in(self.records))))

    def find_record(self) -> Record | None:
        """Returns the current commit record, or None where nothing is published.

        Raises:
            CorruptArtifact: the file is not a commit record.
        """
        generation = self.generation()
        return self.record_of(generation) if generation else None

    def record_of(self, generation: int) -> Record:
        """Returns the commit record of one publication.

        Raises:
            ArtifactMissing: there is no such publication.
            CorruptArtifact: the file is not a commit record.
        """
        path = self.record_path(generation)
        try:
            return Record.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            message = (
                f"{self}: publication {generation} is not there ({path}); materialise this asset's partition again"
            )
            raise ArtifactMissing(message) from error
        except ValidationError as error:
            message = f"{path}: not a commit record; delete it and materialise the asset again"
            raise CorruptArtifact(message) from error

    def record(self) -> Record:
        """Returns the current commit record.

        Raises:
            ArtifactMissing: nothing is published here.
            CorruptArtifact: the file is not a commit record.
        """
        record = self.find_record()
        if record is None:
            message = f"{self}: nothing is published in {self.records}; materialise this asset's partition first"
            raise ArtifactMissing(message)
        return record

    def record_path(self, generation: int) -> UPath:
        """Returns where the commit record of a publication is."""
        return self.records / f"{generation:06d}.json"

    def folder(self, record: Record) -> UPath:
        """Returns the data folder of a publication."""
        return self.data / record.folder

    def path(self, name: str, record: Record) -> UPath:
        """Returns the path of a published file.

        Raises:
            ArtifactMissing: no such file belongs to the publication.
        """
        return self.file(name, record).path

    def file(self, name: str, record: Record) -> PublishedFile:
        """Returns a published file, whose content is compared with the record when it is read.

        Raises:
            ArtifactMissing: no such file belongs to the publication.
        """
        for entry in record.files:
            if entry.name == name:
                return PublishedFile(self.folder(record) / name, entry)
        known = ", ".join(sorted(entry.name for entry in record.files)[:10])
        message = f"{self}: no file {name!r} in publication {record.generation}; it has {known}"
        raise ArtifactMissing(message)

    def commit(self, record: Record) -> Record:
        """Returns the record after making it visible; if another writer published the same before, that record.

        Args:
            record: lists files that are in its data folder already.

        Raises:
            StaleArtifact: another writer published something else meanwhile.
        """
        text = json.dumps(record.model_dump(mode="json"), indent=1, sort_keys=True)
        try:
            create_file(self.record_path(record.generation), text.encode())
        except FileExistsError as error:
            winner = self.record()
            if winner.plan_fingerprint == record.plan_fingerprint:
                return winner
            message = (
                f"{self}: another run published {winner.plan_fingerprint} (publication {winner.generation}) while "
                f"this one made {record.plan_fingerprint}; nothing was overwritten. Materialise the asset again if it "
                "is still out of date"
            )
            raise StaleArtifact(message) from error
        return record

    def verify(self, record: Record) -> None:
        """Compares every file of a publication with its record.

        Local files are read again. An object store is asked for the checksums of the objects that it holds.

        Raises:
            CorruptArtifact: names the first file whose size or checksum differs from the record.
        """
        repair = f"delete {self.record_path(record.generation)} and materialise the asset again"
        folder = self.folder(record)
        try:
            names = [(folder / entry.name, entry.name) for entry in record.files]
            present = in_parallel(describe_file, names, n_threads=1 if is_local(folder) else N_VERIFIED_AT_ONCE)
        except CorruptArtifact as error:
            message = f"{error}; {repair}"
            raise CorruptArtifact(message) from error
        for entry, found in zip(record.files, present, strict=True):
            if found != entry:
                message = f"{_difference(folder / entry.name, found, entry)}; {repair}"
                raise CorruptArtifact(message)


def generation_of(name: str) -> int:
    """Returns the number of the publication whose commit record has this file name, 0 for any other file."""
    number, _, suffix = name.partition(".")
    return int(number) if suffix == "json" and number.isdecimal() and number.isascii() else 0


def describe_address(kind: str, keys: Sequence[str]) -> str:
    """Returns an address for people, such as `plate_store of HUVEC-1`."""
    return f"{kind} of {'|'.join(keys)}" if keys else kind


def names_in(folder: UPath) -> list[str]:
    """Returns the names in a folder, with one request; none where it does not exist."""
    try:
        if is_local(folder):
            return os.listdir(folder.path)  # noqa: PTH208
        return [str(name).rpartition("/")[2] for name in folder.fs.ls(folder.path, detail=False)]
    except (FileNotFoundError, NotADirectoryError):  # which one depends on the file system
        return []


def describe_content(content: bytes, name: str) -> FileEntry:
    """Returns size and CRC32C of the content of a file."""
    return FileEntry(name=name, n_bytes=len(content), crc32c=google_crc32c.value(content))


def describe_file(path: UPath, name: str) -> FileEntry:
    """Returns size and CRC32C of a file.

    An object store knows the checksum of what it stores and tells it with one request. Other files are read in blocks
    of 4 MiB.

    Raises:
        CorruptArtifact: there is no such file.
    """
    known = None if is_local(path) else _describe_object(path, name)
    return known or _describe_by_reading(path, name)


def _difference(path: UPath, found: FileEntry, recorded: FileEntry) -> str:
    return (
        f"{path}: {found.n_bytes} bytes with CRC32C {found.crc32c:08x}, recorded {recorded.n_bytes} with "
        f"{recorded.crc32c:08x}"
    )


def _describe_object(path: UPath, name: str) -> FileEntry | None:
    try:
        info = path.fs.info(path.path)
    except FileNotFoundError:
        return None
    crc32c = info.get("crc32c")
    if crc32c is None:
        return None
    return FileEntry(name=name, n_bytes=info["size"], crc32c=int.from_bytes(base64.b64decode(crc32c), "big"))


def _describe_by_reading(path: UPath, name: str) -> FileEntry:
    checksum = google_crc32c.Checksum()
    n_bytes = 0
    try:
        with path.open("rb") as stream:
            while block := stream.read(READ_BLOCK_BYTES):
                checksum.update(block)
                n_bytes += len(block)
    except FileNotFoundError as error:
        message = f"{path}: the file is listed as part of an artefact and does not exist"
        raise CorruptArtifact(message) from error
    return FileEntry(name=name, n_bytes=n_bytes, crc32c=int.from_bytes(checksum.digest(), "big"))


def is_local(path: UPath) -> bool:
    """Returns true for a path on the local file system."""
    return path.protocol in ("", "file", "local")


@contextmanager
def atomic_write(path: UPath) -> Iterator[BinaryIO]:
    """Yields a local binary file whose content appears at `path` when the block ends without an error.

    On a local file system: a temporary file in the same folder, fsync, rename. Elsewhere: a temporary file that is
    sent as one object. Any error inside the block leaves `path` as it was.
    """
    with explained(str(path) if is_local(path) else f"{tempfile.gettempdir()}, for {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        near = Path(path.parent.path) if is_local(path) else None
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.{uuid.uuid4().hex[:8]}.", dir=near)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "w+b") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            _move(temporary, path, is_near=near is not None)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: UPath, content: bytes) -> None:
    """Writes `content` to `path` in one atomic step."""
    if not is_local(path):
        path.fs.pipe_file(path.path, content)
        return
    with atomic_write(path) as stream:
        stream.write(content)


def write_files(folder: UPath, contents: Mapping[str, bytes]) -> list[FileEntry]:
    """Writes files below a folder in parallel, each in one atomic step, and returns their sizes and checksums."""
    in_parallel(lambda name, content: write_bytes(folder / name, content), list(contents.items()))
    return [describe_content(content, name) for name, content in contents.items()]


def create_file(path: UPath, content: bytes) -> None:
    """Creates `path` with `content` in one atomic step.

    On an object store the request carries the condition that there is no such object yet. If it exists with this very
    content, it counts as created: an earlier attempt was carried out, and its answer was lost.

    Raises:
        FileExistsError: the file exists already; it is not changed.
    """
    if not is_local(path):
        path.fs.pipe_file(path.path, content, mode="create")
        return
    with explained(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=Path(path.parent.path))
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            os.link(temporary, path.path)  # fails if the name is taken, which a rename does not
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)


def _move(temporary: Path, path: UPath, *, is_near: bool) -> None:
    if not is_near:
        path.fs.put_file(str(temporary), path.path)
        return
    temporary.chmod(0o644)  # mkstemp makes files that only their owner can read
    temporary.replace(path.path)
    _sync_folder(path.parent)


def _sync_folder(path: UPath) -> None:
    folder = os.open(path.path, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name itself must survive a power cut
    finally:
        os.close(folder)
