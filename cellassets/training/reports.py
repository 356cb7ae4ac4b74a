"""Progress reports of a training: what it will take, after the first batch, every few seconds, after every epoch.

Called by the training module; the receiver is the caller's `progress`. Nothing is printed here.
"""

import math
import time

from cellassets.progress import Progress, TimeLeft, duration
from cellassets.training.recipe import NetworkRecipe

INTERVAL_S = 5.0


class TrainingReports:
    """Turns steps and epochs of one training into progress reports that count batches."""

    def __init__(
        self, recipe: NetworkRecipe, *, n_steps: int, progress: Progress, interval_s: float = INTERVAL_S
    ) -> None:
        self.n_steps = n_steps
        self.n_epochs = recipe.n_epochs
        self.what = f"batches trained for {recipe.name}"
        self.progress = progress
        self.interval_s = interval_s
        self.accuracy: float | None = None
        self._time_left = TimeLeft()
        self._last_s = -interval_s

    def expect(self, seconds: float) -> None:
        """Reports how long the whole training will take, before it begins."""
        n_batches = self.n_steps // self.n_epochs
        note = f"about {duration(seconds)} for {self.n_epochs} epochs of {n_batches} batches, from one timed batch"
        self.progress(0, self.n_steps, self.what, note=note)

    def step(self, n_done: int, loss: float | None) -> None:
        """Reports a batch, if the last report is some seconds old.

        Args:
            n_done: batches trained so far, over all epochs.
            loss: loss of the batch, or None for a batch of held-out sites.
        """
        now_s = time.monotonic()
        if now_s - self._last_s >= self.interval_s:
            self._last_s = now_s
            epoch = max(1, math.ceil(n_done * self.n_epochs / self.n_steps))
            self._report(n_done, epoch, "held-out sites" if loss is None else f"loss {loss:.2f}")

    def epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Reports the end of an epoch, counted from 0, with its mean loss."""
        self._last_s = time.monotonic()
        self.accuracy = metrics.get("validation_accuracy", self.accuracy)
        n_done = (epoch + 1) * self.n_steps // self.n_epochs
        speed = metrics.get("sites_per_second")
        at = "" if speed is None else f", {speed:.3g} sites/s, {metrics['data_wait_frac']:.0%} of the time without data"
        self._report(n_done, epoch + 1, f"loss {metrics['train_loss']:.2f}{at}")

    def _report(self, n_done: int, epoch: int, now: str) -> None:
        accuracy = "" if self.accuracy is None else f"held-out accuracy {self.accuracy:.3f}"
        parts = [f"epoch {epoch} of {self.n_epochs}", now, accuracy, self._time_left.text(n_done, self.n_steps)]
        self.progress(n_done, self.n_steps, self.what, note=", ".join(part for part in parts if part))
