"""Early stopping: how long a training has gone on without improvement."""

import math
from collections.abc import Mapping
from typing import Any

from cellassets.training.recipe import EarlyStopping


class Patience:
    """Counts the validations since the best one.

    Attributes:
        best: the best value of the metric so far.
        n_without: validations since then.
    """

    def __init__(self, parameters: EarlyStopping) -> None:
        self.parameters = parameters
        self.best = -math.inf
        self.n_without = 0

    @property
    def is_over(self) -> bool:
        """Whether the training ends."""
        return self.n_without >= self.parameters.patience

    def add(self, metrics: Mapping[str, float]) -> None:
        """Counts a validation. An equal value does not count as an improvement."""
        value = metrics[self.parameters.metric]
        better = -value if self.parameters.metric.endswith("_loss") else value
        self.n_without = 0 if better > self.best else self.n_without + 1
        self.best = max(self.best, better)

    def state(self) -> dict[str, Any]:
        """Returns what a later process needs to go on."""
        return {"best": self.best, "n_without": self.n_without}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from the state of an earlier process."""
        self.best, self.n_without = state["best"], state["n_without"]
