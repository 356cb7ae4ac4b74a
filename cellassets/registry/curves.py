"""The curves of a training run. A training does not wait for MLflow: points that it does not take are sent again.

The state of a training holds all its points. So the attempt that ends it also sends those that earlier attempts could
not send, or that MLflow has lost with its database.
"""

import logging
from collections import deque
from collections.abc import Mapping, Sequence

from cellassets.errors import RegistryError
from cellassets.registry.patience import PATIENCE_S
from cellassets.registry.runs import Runs

IN_EVERY_POINT = "train_loss"
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

    def finish(self, history: Sequence[Mapping[str, float]] = ()) -> None:
        """Sends what is left, with patience. What MLflow still does not take is lost, with a warning in the log.

        Args:
            history: all points of the training, with their `epoch`; the run gets those that it lacks. Empty where only
                the points of this attempt are known.
        """
        if history:
            try:
                known = self._runs.steps(self._run_id, IN_EVERY_POINT)
            except RegistryError as error:
                logger.warning("the curves of run %s may lack points: %s", self._run_id, error)
                return
            points = [(int(point["epoch"]), {k: v for k, v in point.items() if k != "epoch"}) for point in history]
            self._waiting = deque(point for point in points if point[0] not in known)
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
