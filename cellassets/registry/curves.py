"""The curves of a training run. A training does not wait for MLflow: points that it does not take are sent again."""

import logging
from collections import deque
from collections.abc import Mapping

from cellassets.errors import RegistryError
from cellassets.registry.patience import PATIENCE_S
from cellassets.registry.runs import Runs

logger = logging.getLogger(__name__)


class Curves:
    """Adds points to the curves of one run, one point of each metric per epoch."""

    def __init__(self, runs: Runs, run_id: str) -> None:
        self._runs = runs
        self._run_id = run_id
        self._waiting: deque[tuple[int, dict[str, float]]] = deque()

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds a point. If MLflow does not answer, the point is sent with the next one."""
        self._waiting.append((step, dict(metrics)))
        self._send(patience_s=0.0)

    def finish(self) -> None:
        """Sends what is left, with patience. What MLflow still does not take is lost, with a warning in the log."""
        self._send(patience_s=PATIENCE_S)

    def _send(self, *, patience_s: float) -> None:
        while self._waiting:
            step, metrics = self._waiting[0]
            try:
                self._runs.log_metrics(self._run_id, metrics, step=step, patience_s=patience_s)
            except RegistryError as error:
                logger.warning("%d points of the curves of run %s wait: %s", len(self._waiting), self._run_id, error)
                return
            self._waiting.popleft()
