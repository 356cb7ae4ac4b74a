"""What the processes of the first node tell `launch`: lines of JSON in a local folder, one file per process.

The first process of the node reports epochs and progress. Every process reports the error that ends it, and the
agent reports which processes ended badly. Metrics are the same in all processes, so it does not matter which one
reports them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EPOCH, PROGRESS, FAILED, ENDED = "epoch", "progress", "failed", "ended"


class Reports:
    """Writes the reports of one process; without a folder it reports nothing."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self.path = None if folder is None else folder / f"{name}.jsonl"

    def add(self, kind: str, *values: Any) -> None:
        """Adds one report."""
        if self.path is not None:
            with self.path.open("a") as stream:
                stream.write(json.dumps([kind, *values]) + "\n")

    def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Reports the end of an epoch, counted from 0."""
        self.add(EPOCH, epoch, metrics)

    def progress(self, n_done: int, n_total: int, what: str, /, note: str = "") -> None:
        """Reports progress; a `Progress`."""
        self.add(PROGRESS, n_done, n_total, what, note)

    def failed(self, rank: int, error: BaseException) -> None:
        """Reports the error that ends a process."""
        self.add(FAILED, rank, type(error).__name__, str(error))

    def ended(self, rank: int, exit_status: int) -> None:
        """Reports a process that ended badly; the status is negative for a signal."""
        self.add(ENDED, rank, exit_status)


class ReportReader:
    """Reads the reports of a folder as they come."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._n_read: dict[Path, int] = {}

    def new(self) -> Iterator[tuple[str, list[Any]]]:
        """Yields the kind and the values of every complete report since the last call."""
        for path in sorted(self.folder.glob("*.jsonl")):
            content = path.read_bytes()[self._n_read.get(path, 0) :]
            whole = content[: content.rfind(b"\n") + 1]
            self._n_read[path] = self._n_read.get(path, 0) + len(whole)
            for line in whole.splitlines():
                kind, *values = json.loads(line)
                yield kind, values
