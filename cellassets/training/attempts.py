"""The attempts at one training, and the states that they leave for each other in a folder that all machines see.

    <folder>/attempts/000002                            host and process id of the second process that began
    <folder>/states/000002-00007-<CRC32C>.safetensors   attempt 2 after epoch 7
    <folder>/stopped.json                               a note for later attempts, written once

The newest attempt is the only one that may write: an older one that is still alive stops at its next epoch. A state is
written in one atomic step and has its checksum in its name. So a state that can be read was written completely. A
damaged one is named and removed, and the training goes on from the state before it, or from the start.
"""

import logging
import os
import re
import socket
from contextlib import suppress
from dataclasses import dataclass

import google_crc32c
from upath import UPath

from cellassets.errors import CorruptArtifact, StaleArtifact
from cellassets.storage.artifact import create_file, is_local, write_bytes

N_KEPT = 2  # the newest state, and the one before it in case the newest is damaged
STATE_NAME = re.compile(r"(?P<attempt>\d{6})-(?P<epoch>\d{5})-(?P<checksum>[0-9a-f]{8})\.safetensors")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempt:
    """One run that carries out a training, in one process or several.

    Attributes:
        folder: where all attempts at this training keep their states: a local folder or an fsspec URL.
        number: number of this attempt, from 1.
        goes_on_from: name of the state to go on from, so that all processes of a run take the same one; empty to begin
            without a state, None for the newest one.
    """

    folder: UPath
    number: int
    goes_on_from: str | None = None

    @classmethod
    def begin(cls, folder: UPath) -> "Attempt":
        """Returns a new attempt, which is from now on the only one that may write."""
        who = f"{socket.gethostname()} {os.getpid()}\n".encode()
        while True:
            number = _newest(folder) + 1
            try:
                create_file(folder / "attempts" / f"{number:06d}", who)
            except FileExistsError:  # another process began in between
                continue
            attempt = cls(folder, number)
            attempt._remove_temporaries()
            return attempt

    def require_newest(self) -> None:
        """Checks that no other process took over.

        Raises:
            StaleArtifact: a newer attempt began, or the training is finished.
        """
        newest = _newest(self.folder)
        if newest != self.number:
            now = f"attempt {newest} has begun" if newest else "its states were removed, since another run finished it"
            message = (
                f"{self.folder}: this process is attempt {self.number} at the training, and {now}; it stops here and "
                "leaves the training to the other one"
            )
            raise StaleArtifact(message)

    def save(self, epoch: int, content: bytes) -> None:
        """Stores the state after an epoch, counted from 0, and removes older ones.

        Raises:
            StaleArtifact: a newer attempt began; nothing is written.
        """
        self.require_newest()
        checksum = google_crc32c.value(content)
        write_bytes(self._states / f"{self.number:06d}-{epoch + 1:05d}-{checksum:08x}.safetensors", content)
        for path in _sorted_states(self._states)[:-N_KEPT]:
            path.unlink(missing_ok=True)

    def last_state(self) -> bytes | None:
        """Returns the newest complete state of any attempt, after removing damaged ones; None if there is none.

        Raises:
            CorruptArtifact: the state that `goes_on_from` names is damaged.
        """
        if self.goes_on_from is None:
            return self._newest_state()[1]
        return self._named_state(self.goes_on_from) if self.goes_on_from else None

    def last_name(self) -> str:
        """Returns the name of the newest complete state, after removing damaged ones; empty if there is none."""
        return self._newest_state()[0]

    def _named_state(self, name: str) -> bytes:
        content = (self._states / name).read_bytes()
        if f"{google_crc32c.value(content):08x}" != _parts(self._states / name)["checksum"]:
            message = f"{self._states / name}: damaged ({len(content)} bytes); run the training again"
            raise CorruptArtifact(message)
        return content

    def _newest_state(self) -> tuple[str, bytes | None]:
        for path in reversed(_sorted_states(self._states)):
            try:
                content = path.read_bytes()
            except FileNotFoundError:  # an older attempt, which still runs, removed it
                continue
            if f"{google_crc32c.value(content):08x}" == _parts(path)["checksum"]:
                return path.name, content
            logger.warning("%s: damaged (%d bytes), removed; the state before it is used", path, len(content))
            path.unlink(missing_ok=True)  # otherwise it would count as one of the states that are kept
        return "", None

    def note(self, name: str, content: bytes) -> None:
        """Stores a note for this attempt and all later ones. A note that exists stays as it is.

        Raises:
            StaleArtifact: a newer attempt began; nothing is written.
        """
        self.require_newest()
        with suppress(FileExistsError):
            create_file(self.folder / name, content)

    def noted(self, name: str) -> bytes | None:
        """Returns a note of any attempt; None if there is none."""
        self.folder.fs.invalidate_cache()
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    @property
    def _states(self) -> UPath:
        return self.folder / "states"

    def _remove_temporaries(self) -> None:
        """Removes what a killed process left; only a local folder has temporary files."""
        if is_local(self.folder) and self._states.is_dir():
            for path in self._states.glob(".*"):
                path.unlink(missing_ok=True)


def remove_attempts(folder: UPath) -> bool:
    """Removes all states and attempts of a training, once it is published; returns whether there were any."""
    folder.fs.invalidate_cache()  # another machine may have written meanwhile
    if not folder.is_dir():
        return False
    with suppress(FileNotFoundError):  # another process removes it at the same time
        folder.fs.rm(folder.path, recursive=True)
    return True


def _newest(folder: UPath) -> int:
    return max((int(path.name) for path in _children(folder / "attempts") if path.name.isdecimal()), default=0)


def _sorted_states(folder: UPath) -> list[UPath]:
    """Returns the states, sorted by attempt and then by epoch."""
    return sorted((path for path in _children(folder) if STATE_NAME.fullmatch(path.name)), key=lambda path: path.name)


def _parts(path: UPath) -> dict[str, str]:
    found = STATE_NAME.fullmatch(path.name)
    return found.groupdict() if found else {}


def _children(folder: UPath) -> list[UPath]:
    folder.fs.invalidate_cache()  # another machine may have written meanwhile
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # which one depends on the file system
        return []
