"""Calls of MLflow that wait for a server or a database which does not answer for a while, within limits.

All limits of remote calls are here. MLflow's own limits (120 s per request, 7 repetitions) would block a sensor's tick
for minutes.
"""

import logging
import os
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from cellassets.errors import RegistryError

T = TypeVar("T")
HTTP_LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",  # seconds for one answer
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
PATIENCE_S = 300.0  # of work that took longer than that, such as registering a trained model
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
# codes of a database that is locked or restarted, and of a server that cannot be reached
PASSING_CODES = frozenset({"TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED"})
logger = logging.getLogger(__name__)


def limit_requests() -> None:
    """Sets MLflow's limits of HTTP requests, except those that the environment sets already."""
    for name, value in HTTP_LIMITS.items():
        os.environ.setdefault(name, value)


def patiently(call: Callable[[], T], *, uri: str, patience_s: float) -> T:
    """Returns what `call` returns; repeats it with growing pauses while MLflow does not answer.

    Args:
        call: one request.
        uri: MLflow's place, for the message.
        patience_s: after this time no further repetition begins; 0 for one attempt.

    Raises:
        RegistryError: MLflow did not answer in time.
    """
    end_s, pause_s = time.monotonic() + patience_s, FIRST_PAUSE_S
    while True:
        try:
            return call()
        except Exception as error:
            if not _is_passing(error):
                raise
            if time.monotonic() + pause_s > end_s:
                waited = f" for {patience_s:.0f} s" if patience_s else ""
                message = f"the model registry at {uri} does not answer{waited}: {error}; try again when it does"
                raise RegistryError(message) from error
            logger.warning("the model registry does not answer, next try in %.0f s: %s", pause_s, error)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


class PatientClient:
    """MLflow's client, each of whose requests is repeated while MLflow does not answer (`patiently`)."""

    def __init__(self, client: Any, uri: str, patience_s: float) -> None:
        self._client = client
        self._uri = uri
        self._patience_s = patience_s

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not callable(method):
            return method

        @wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            return patiently(lambda: method(*arguments, **options), uri=self._uri, patience_s=self._patience_s)

        return call


def _is_passing(error: Exception) -> bool:
    """True for an error of MLflow, or of its database driver, whose cause goes away by itself."""
    return getattr(error, "error_code", None) in PASSING_CODES or type(error).__name__ == "OperationalError"
