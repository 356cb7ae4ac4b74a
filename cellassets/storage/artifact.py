"""Artefacts: folders of files that are published whole or not at all.

On disk an artefact is `<root>/record.json` beside `<root>/<fingerprint>/...`. Files are written under the folder named
by the fingerprint of what they are made from, each to a temporary name first; `record.json` is replaced last, by one
atomic step, and lists every file with its size and CRC32C. A reader goes by the record alone, so it sees all or
nothing. Work that was cut off finds its finished files under the same fingerprint again.

No table, image or science is known here.
"""

import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
from pydantic import ValidationError
from upath import UPath

from cellassets.configuration import Parameters
from cellassets.errors import ArtifactMissing, CorruptArtifact, StaleArtifact
from cellassets.fingerprint import fingerprint

RECORD_NAME = "record.json"
READ_BLOCK_BYTES = 1 << 22


class FileEntry(Parameters):
    """One published file: its name below the artefact's folder, its size in bytes and its CRC32C."""

    name: str
    n_bytes: int
    crc32c: int


class Record(Parameters):
    """What an artefact was made from and which files it is made of.

    `inputs` are what the fingerprint was taken from; `summary` is what people see beside it; `generation` counts the
    publications at this place, so that 'the same again' and 'back to what it was' can be told apart.
    """

    kind: str
    fingerprint: str
    generation: int
    inputs: dict[str, Any]
    files: tuple[FileEntry, ...]
    summary: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What an artefact would be made from if it were made now."""

    kind: str
    inputs: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the kind and all inputs."""
        return fingerprint({"kind": self.kind, "inputs": self.inputs})


@dataclass(frozen=True)
class Artifact:
    """One place where an artefact is, or will be, published."""

    root: UPath

    def find_record(self) -> Record | None:
        """Returns the commit record, or None where nothing is published.

        Raises:
            CorruptArtifact: `record.json` is there and is not a record.
        """
        path = self.root / RECORD_NAME
        try:
            return Record.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            message = f"{path}: not a commit record; delete it and materialise the asset again"
            raise CorruptArtifact(message) from error

    def record(self, expected_fingerprint: str | None = None) -> Record:
        """Returns the commit record.

        Args:
            expected_fingerprint: what the caller needs the artefact to be made from, where that matters.

        Raises:
            ArtifactMissing: nothing is published here.
            StaleArtifact: it was made from something else.
        """
        record = self.find_record()
        if record is None:
            message = f"{self.root}: nothing published here; materialise this asset's partition first"
            raise ArtifactMissing(message)
        if expected_fingerprint is not None and record.fingerprint != expected_fingerprint:
            message = (
                f"{self.root}: stored fingerprint {record.fingerprint}, expected {expected_fingerprint}: its inputs "
                "changed since; materialise this asset's partition again"
            )
            raise StaleArtifact(message)
        return record

    def is_done(self, plan: Plan) -> bool:
        """True where exactly what `plan` asks for is published already."""
        record = self.find_record()
        return record is not None and record.fingerprint == plan.fingerprint

    def folder(self, fingerprint_: str) -> UPath:
        """Where the files made from these inputs lie, published or not."""
        return self.root / fingerprint_

    def path(self, name: str, record: Record | None = None) -> UPath:
        """Returns the path of a published file.

        Raises:
            ArtifactMissing: nothing is published, or no such file belongs to it.
        """
        record = self.record() if record is None else record
        if name not in {entry.name for entry in record.files}:
            known = ", ".join(sorted(entry.name for entry in record.files)[:10])
            message = f"{self.root}: no file {name!r} in {record.kind}; it has {known}"
            raise ArtifactMissing(message)
        return self.folder(record.fingerprint) / name

    def publish(self, plan: Plan, names: Sequence[str | FileEntry], summary: dict[str, Any]) -> Record:
        """Returns the commit record of files that lie in the plan's folder, after making it visible.

        Args:
            plan: what the files were made from.
            names: files below `folder(plan.fingerprint)`, all of them there already; a name is read once more for its
                checksum, an entry stands for itself.
            summary: JSON-like values for people and for cheap decisions by the sensors.
        """
        folder = self.folder(plan.fingerprint)
        entries = [name if isinstance(name, FileEntry) else describe_file(folder / name, name) for name in names]
        files = tuple(sorted(entries, key=lambda entry: entry.name))
        before = self.find_record()
        record = Record(
            kind=plan.kind,
            fingerprint=plan.fingerprint,
            generation=1 if before is None else before.generation + 1,
            inputs=plan.inputs,
            files=files,
            summary=summary,
        )
        text = json.dumps(record.model_dump(mode="json"), indent=1, sort_keys=True)
        write_bytes(self.root / RECORD_NAME, text.encode())
        return record

    def verify(self) -> None:
        """Reads every published file again.

        Raises:
            CorruptArtifact: naming the first file whose size or checksum differs from the record.
        """
        record = self.record()
        for entry in record.files:
            found = describe_file(self.folder(record.fingerprint) / entry.name, entry.name)
            if found != entry:
                message = (
                    f"{self.root}/{record.fingerprint}/{entry.name}: {found.n_bytes} bytes with CRC32C "
                    f"{found.crc32c:08x}, recorded {entry.n_bytes} with {entry.crc32c:08x}; delete "
                    f"{self.root / RECORD_NAME} and materialise the asset again"
                )
                raise CorruptArtifact(message)


def describe_file(path: UPath, name: str) -> FileEntry:
    """Returns size and CRC32C of a file, read in blocks of 4 MiB."""
    checksum = google_crc32c.Checksum()
    n_bytes = 0
    try:
        with path.open("rb") as stream:
            while block := stream.read(READ_BLOCK_BYTES):
                checksum.update(block)
                n_bytes += len(block)
    except FileNotFoundError as error:
        message = f"{path}: listed as part of an artefact and not there"
        raise CorruptArtifact(message) from error
    return FileEntry(name=name, n_bytes=n_bytes, crc32c=int.from_bytes(checksum.digest(), "big"))


def is_local(path: UPath) -> bool:
    """True for a path on this machine's file system."""
    return path.protocol in ("", "file", "local")


@contextmanager
def atomic_write(path: UPath) -> Iterator[BinaryIO]:
    """Yields a local binary file whose content appears at `path` when the block ends without an error.

    On a local file system: a temporary sibling, fsync, rename. Elsewhere: a spool file, sent as one object. Any error
    inside the block leaves `path` as it was.
    """
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
    with atomic_write(path) as stream:
        stream.write(content)


def _move(temporary: Path, path: UPath, *, is_near: bool) -> None:
    if not is_near:
        path.fs.put_file(str(temporary), path.path)
        return
    temporary.chmod(0o644)  # mkstemp makes files that only their owner can read
    temporary.replace(path.path)
    folder = os.open(path.parent.path, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must survive a power cut
    finally:
        os.close(folder)
