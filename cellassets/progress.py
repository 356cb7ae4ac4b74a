"""How long work reports how far it is.

The library never prints. A function that works for a long time calls `progress(n_done, n_total, what, note)`. The
command line draws a bar from these reports, and a Dagster run logs some of them.
"""

import time
from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """Receives progress reports."""

    def __call__(self, n_done: int, n_total: int, what: str, /, note: str = "") -> None:
        """Takes one report.

        Args:
            n_done: how many units are done.
            n_total: how many units there are.
            what: what is counted. It stays the same for the whole work, so that reports of one work can be grouped.
            note: what a person wants to read beside it. It may change with every report.
        """


def no_progress(n_done: int, n_total: int, what: str, /, note: str = "") -> None:
    """Takes a progress report and does nothing with it."""


class TimeLeft:
    """Estimates the time that is left from the speed since the estimate began.

    Units that were done before, for example in an earlier process, do not count for the speed.
    """

    def __init__(self) -> None:
        self._start: tuple[int, float] | None = None

    def text(self, n_done: int, n_total: int) -> str:
        """Returns for example 'about 4 min left'; empty if the speed is not known yet or nothing is left."""
        now_s = time.monotonic()
        if self._start is None or n_done <= self._start[0]:
            self._start = self._start or (n_done, now_s)
            return ""
        if n_done >= n_total:
            return ""
        first, started_s = self._start
        left_s = (now_s - started_s) / (n_done - first) * (n_total - n_done)
        return f"about {duration(left_s)} left"


def duration(seconds: float) -> str:
    """Returns for example '40 s', '12 min' or '3.2 h'."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
