"""What a training does when its process is asked to end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_STATUS = 128 + signal.SIGTERM  # what a shell shows for a process that SIGTERM ended


@contextmanager
def termination_as_exit() -> Iterator[None]:
    """Makes SIGTERM raise SystemExit inside the block, so that the block can clean up.

    By default Python ends without any cleaning up. A handler that somebody else installed, such as Dagster's, stays.
    Only the main thread can set a handler; in another thread nothing changes. Lightning also remembers the signal, and
    ends its loop with a SystemExit without a status if the first one was caught on its way. Such a process would seem
    to have succeeded, so the status is added here.

    Raises:
        SystemExit: the process was asked to end; by SIGTERM with the status 143.
    """
    try:
        with _handler():
            yield
    except SystemExit as ended:
        if ended.code is None:
            raise SystemExit(EXIT_STATUS) from ended
        raise


@contextmanager
def _handler() -> Iterator[None]:
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(EXIT_STATUS)
