"""Calls of remote services with a time limit: a tick waits a few seconds for a service that hangs, and then goes on.

MLflow's client tries again for many minutes where a server is down. Its own limits are environment variables of the
whole process, and runs, which should be patient, inherit them.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class PatientCall(Generic[T]):
    """A call that can hang, made in a thread of its own. At most one is under way.

    Args:
        function: the call.
        limit_s: seconds that the caller waits for an answer. It does not wait while an earlier call still hangs.
    """

    def __init__(self, function: Callable[[], T], limit_s: float) -> None:
        self._function = function
        self._limit_s = limit_s
        self._pending: Future[T] | None = None
        self._since_s = 0.0

    def __call__(self) -> T:
        """Returns the answer.

        Raises:
            TimeoutError: there is none yet; says since when.
        """
        is_new = self._pending is None
        if self._pending is None:
            self._pending, self._since_s = Future(), time.monotonic()
            Thread(target=_settle, args=(self._function, self._pending), daemon=True).start()
        pending = self._pending
        try:
            answer = pending.result(self._limit_s if is_new else 0)
        except TimeoutError:
            if pending.done():  # the call itself ran into a limit of its own
                self._pending = None
                raise
            message = f"no answer for {time.monotonic() - self._since_s:.0f} s"
            raise TimeoutError(message) from None
        except BaseException:
            self._pending = None
            raise
        self._pending = None
        return answer


def _settle(function: Callable[[], T], pending: "Future[T]") -> None:
    try:
        pending.set_result(function())
    except BaseException as error:  # noqa: BLE001  raised again where the answer is awaited
        pending.set_exception(error)
