"""Keeps the signal that ends a run what it is, whatever the code in between makes of it.

A preempted pod gets SIGTERM. Dagster raises `DagsterExecutionInterruptedError` at the line that runs at this moment and
retries a run that ends with it. Libraries turn it into other exceptions: Lightning into a SystemExit, a subprocess that
got the signal too into an error about its exit status. Dagster takes those for a failure of the step, which it does not
retry.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import dagster as dg

SIGNALS = (signal.SIGTERM, signal.SIGINT)  # Dagster gives both the same handler


@contextmanager
def interruptions_kept() -> Iterator[None]:
    """Raises an interruption in place of any exception that leaves the block after SIGTERM or SIGINT.

    Raises:
        DagsterExecutionInterruptedError: the process was asked to end, and the block did not finish.
    """
    received: list[int] = []
    with _noted(received):
        try:
            yield
        except BaseException as error:
            if received and not isinstance(error, dg.DagsterExecutionInterruptedError):
                message = f"interrupted by {signal.Signals(received[0]).name}"
                raise dg.DagsterExecutionInterruptedError(message) from error
            raise


@contextmanager
def _noted(received: list[int]) -> Iterator[None]:
    """Adds the signals that arrive inside the block to a list; the handlers that were there are still called."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread can set handlers
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        signal.signal(number, _noting(received, handler))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _noting(received: list[int], handler: Any) -> Callable[[int, FrameType | None], None]:
    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            raise dg.DagsterExecutionInterruptedError

    return note
