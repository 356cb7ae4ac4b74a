"""A server that outlives the command which starts it, and that a later command finds and stops by its recorded number.

The process leads a session, to which everything that it starts belongs: workers, and the runs of a code location. A
number alone does not identify a process, since numbers are used again. So every process of the session carries the
marker in its environment, which the kernel shows in `/proc`; this needs Linux.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARKER = "CELLASSETS_STACK"
POLL_S = 0.1


@dataclass(frozen=True)
class RecordedProcess:
    """A server of a stack, with its record `<name>.pid` and its log `<name>.log` in a folder.

    Attributes:
        name: of the server.
        folder: where its record and its log are; absolute, and the same for all servers of the stack.
    """

    name: str
    folder: Path

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.folder / f"{self.name}.log"

    @property
    def record(self) -> Path:
        """The file with the number of the process."""
        return self.folder / f"{self.name}.pid"

    @property
    def number(self) -> int | None:
        """The recorded number; None without a record."""
        text = self.record.read_text() if self.record.is_file() else ""
        return int(text) if text.isdecimal() else None

    def start(self, command: list[str], environment: Mapping[str, str], *, cwd: Path) -> None:
        """Starts the server, after ending what is left of an earlier one, such as its workers."""
        self.stop()
        marked = {**environment, MARKER: str(self.folder)}
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command, cwd=cwd, env=marked, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        process.returncode = 0  # it goes on without this command, which must not wait for it
        self.record.write_text(str(process.pid))

    def is_running(self) -> bool:
        """Returns true if the recorded process is there, and is still that process."""
        return self.number is not None and self.number in self.members()

    def members(self) -> list[int]:
        """Returns the numbers of all processes of the session that the server leads or has led."""
        number = self.number
        return [] if number is None else [member for member in _session(number) if self._is_ours(member)]

    def stop(self, *, grace_s: float = 30.0) -> None:
        """Ends all processes of the session: asks them first, and kills those that are still there after `grace_s`."""
        end, asked = time.monotonic() + grace_s, set[int]()
        while members := self.members():
            for member in members:
                if time.monotonic() > end:
                    _send(member, signal.SIGKILL)
                elif member not in asked:
                    asked.add(member)
                    _send(member, signal.SIGTERM)
            time.sleep(POLL_S)
        self.record.unlink(missing_ok=True)

    def _is_ours(self, number: int) -> bool:
        try:
            variables = Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or belongs to somebody else
            return False
        return f"{MARKER}={self.folder}".encode() in variables


def _session(leader: int) -> Iterator[int]:
    """Yields the numbers of the living processes of a session."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if fields[0] not in ("Z", "X") and int(fields[3]) == leader:
                    yield int(folder.name)


def _send(number: int, what: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(number, what)


def last_lines(log: Path, n_lines: int = 20) -> str:
    """Returns the last lines of a log; empty without one."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-n_lines:]) if log.is_file() else ""
