"""How long work tells its caller how far it is.

The library never prints: a stage calls `progress(done, total, what)`, the command line draws a bar from it and a
Dagster run logs it.
"""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]


def no_progress(n_done: int, n_total: int, what: str) -> None:
    """Takes a progress report and does nothing with it."""
