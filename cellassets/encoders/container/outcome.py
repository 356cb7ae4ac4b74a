"""What the exit status of a container encoder's process means. No process is started here."""

import signal
from typing import Literal

EXIT_TRY_AGAIN = 75  # Source: EX_TEMPFAIL of sysexits.h
INTERRUPTIONS = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM})
Outcome = Literal["done", "interrupted", "failed"]


def outcome_of(exit_status: int) -> Outcome:
    """Returns what a process did: `done` with exit status 0, `interrupted` if it may be run again, or `failed`.

    Args:
        exit_status: of the process. A signal is a negative number, or its number plus 128 as shells and containers
            report it.
    """
    if exit_status == 0:
        return "done"
    number = -exit_status if exit_status < 0 else exit_status - 128
    return "interrupted" if exit_status == EXIT_TRY_AGAIN or number in INTERRUPTIONS else "failed"
