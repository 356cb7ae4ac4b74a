"""How processes end with the process that started them."""

import ctypes
import os
import signal
import sys
from types import FrameType

from cellassets.training.termination import EXIT_STATUS

PR_SET_PDEATHSIG = 1  # of Linux's sys/prctl.h


def end_with_parent(number: signal.Signals) -> None:
    """Has the system send this process a signal when its parent ends, however the parent ends. Linux only."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:  # it ended before
        raise SystemExit(EXIT_STATUS)


def end_at_once_on_sigterm() -> None:
    """Ends this process without any cleaning up on SIGTERM: others may wait for it in the middle of a batch."""

    def end(_number: int, _frame: FrameType | None) -> None:
        os._exit(EXIT_STATUS)

    signal.signal(signal.SIGTERM, end)
