"""The Lightning module: what happens to a batch, and what is measured on held-out experiments.

Batches come from `batches.py`, networks and heads from `backbone.py` and `losses.py`; `label_free.py` changes what is
different without labels. The module neither prints nor logs. It passes the metrics of each epoch to `on_epoch`, and
each batch to `on_step`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from jaxtyping import Float
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from cellassets.errors import TrainingError
from cellassets.training.averaging import MovingAverage
from cellassets.training.backbone import EmbeddingNetwork
from cellassets.training.batches import Batch, normalised
from cellassets.training.metrics import validation_metrics
from cellassets.training.objective import Objective
from cellassets.training.pace import Pace
from cellassets.training.recipe import NetworkRecipe
from cellassets.training.schedule import learning_rate_factor
from cellassets.training.sharing import agreed, columns_of_all, pace_of_all
from cellassets.training.start import keep_frozen_still
from cellassets.training.stopping import Patience

SGD_MOMENTUM = 0.9

OnEpoch = Callable[[int, dict[str, float]], None]
OnStep = Callable[[int, float | None], None]


def ignore_epoch(epoch: int, metrics: dict[str, float]) -> None:
    """Does nothing."""


def _ignore_step(n_done: int, loss: float | None) -> None:
    pass


class PerturbationClassifier(lightning.LightningModule):
    """A network that learns to distinguish perturbations.

    `n_steps` is the number of optimiser steps in all epochs, which the learning rate is spread over.
    """

    def __init__(
        self,
        network: EmbeddingNetwork,
        heads: Objective,
        *,
        recipe: NetworkRecipe,
        n_steps: int,
        on_epoch: OnEpoch = ignore_epoch,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.heads = heads
        self.recipe = recipe
        self.n_steps = n_steps
        self.on_epoch = on_epoch
        self.on_step: OnStep = _ignore_step
        self.metrics: dict[str, float] = {}
        self.history: list[dict[str, float]] = []
        self.pace = Pace()
        decay, stopping = recipe.optimiser.ema_decay, recipe.early_stopping
        self.average = None if decay is None else MovingAverage(self.network, heads, decay)
        self.patience = None if stopping is None else Patience(stopping)
        self._n_batches_done = 0
        self._losses: list[float] = []
        self._found: list[np.ndarray] = []

    @property
    def judged(self) -> tuple[EmbeddingNetwork, Objective]:
        """The network that is judged and registered, and its heads: the averages, if the recipe asks for them."""
        return (self.network, self.heads) if self.average is None else (self.average.network, self.average.heads)

    def on_train_start(self) -> None:
        """Ends a training that an earlier process stopped early."""
        if self.patience is not None and self.patience.is_over:
            self.trainer.should_stop = True

    def on_train_epoch_start(self) -> None:
        """Deletes the metrics of the last epoch. Frozen parts do not learn statistics either.

        Layers that draw, such as dropout, draw by the seed, the epoch and the process alone. So a training that goes on
        from a state draws as one that was never interrupted.
        """
        seed = np.random.SeedSequence([self.recipe.seed, self.current_epoch, self.global_rank]).generate_state(1)[0]
        torch.manual_seed(int(seed))
        self.metrics = {}
        self.pace.begin()
        keep_frozen_still(self.network)

    def training_step(self, batch: Batch, batch_index: int) -> Float[torch.Tensor, ""]:
        """Returns the loss of a batch: of the whole one, also where several processes share it.

        Raises:
            TrainingError: it is not finite.
        """
        loss = self.heads.batch_loss(self.network, batch)
        value = float(loss.detach())
        if not np.isfinite(value):
            message = (
                f"{self.recipe.name}: loss is {value} in epoch {self.current_epoch + 1}, batch {batch_index + 1}: "
                "lower optimiser.learning_rate, or raise optimiser.warmup_frac"
            )
            raise TrainingError(message)
        self._losses.append(value)
        return self._in_last_step(loss, batch_index)

    def on_validation_epoch_start(self) -> None:
        """Ends the timing of the epoch's training part."""
        self.pace.end()

    def on_train_batch_end(self, outputs: object, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Follows each step by the average, and passes on how many batches were trained, and the last loss."""
        self.pace.trained(batch.n_sites)
        if self.average is not None and int(self.average.n_updates) < self.global_step:
            self.average.update(self.network, self.heads)
        n_batches = int(self.trainer.num_training_batches)
        self._n_batches_done = self.current_epoch * n_batches + batch_idx + 1
        self.on_step(self._n_batches_done, self._losses[-1])
        if batch_idx + 1 == n_batches:
            self._refuse_weights_that_are_not_finite()

    def validation_step(self, batch: Batch, batch_index: int) -> None:  # noqa: ARG002
        """Stores label, prediction and experiment of every held-out site."""
        network, heads = self.judged
        scores = heads.scores(network(normalised(batch)))
        found = torch.stack([batch.labels, scores.argmax(dim=1), batch.store_index.to(batch.labels.dtype)])
        self._found.append(found.cpu().numpy())

    def on_validation_batch_end(
        self,
        outputs: object,  # noqa: ARG002
        batch: Batch,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Passes on that the training is alive while held-out sites are judged."""
        self.on_step(self._n_batches_done, None)

    def on_validation_epoch_end(self) -> None:
        """Computes the metrics of the epoch from the stored predictions."""
        labels, predicted, store_index = columns_of_all(np.concatenate(self._found, axis=1), self.device)
        self._found.clear()
        self.metrics = validation_metrics(
            labels,
            predicted,
            batches=store_index - len(self.recipe.train_experiments),
            names=list(self.recipe.validation_experiments),
        )

    def on_train_epoch_end(self) -> None:
        """Passes on the metrics of the epoch. Validation has run before this, in the epochs that have one."""
        is_validated = bool(self.metrics)
        self.metrics["train_loss"] = agreed(float(np.mean(self._losses)), self.device)
        self.metrics["learning_rate"] = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        self._losses.clear()
        if self.patience is not None:
            self.metrics["n_epochs"] = float(self.current_epoch + 1)
            if is_validated:
                self.patience.add(self.metrics)
            self.trainer.should_stop = self.patience.is_over
        shown = {**self.metrics, **pace_of_all(self.pace.measured(), self.device)}
        self.history.append({"epoch": float(self.current_epoch + 1), **shown})
        self.on_epoch(self.current_epoch, shown)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Returns optimiser and learning-rate schedule. Biases and normalisation layers have no weight decay."""
        optimiser = self._optimiser()
        schedule = LambdaLR(optimiser, lambda step: learning_rate_factor(step, self.n_steps, self.recipe.optimiser))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Saves the metrics of all epochs, so that a run that is killed after its last one can still report them."""
        checkpoint["metrics"] = dict(self.metrics)
        checkpoint["history"] = list(self.history)
        if self.patience is not None:
            checkpoint["patience"] = self.patience.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the metrics, and how long there was no improvement."""
        self.metrics = dict(checkpoint["metrics"])
        self.history = list(checkpoint.get("history", ()))  # states of earlier versions have none
        if self.patience is not None:
            self.patience.restore(checkpoint["patience"])

    def _refuse_weights_that_are_not_finite(self) -> None:
        """Ends a training whose last step of an epoch has spoilt the weights, which no loss shows any more."""
        if not all(bool(weights.isfinite().all()) for weights in self.parameters()):
            message = (
                f"{self.recipe.name}: weights are not finite after epoch {self.current_epoch + 1}: lower "
                "optimiser.learning_rate, or set optimiser.max_gradient_norm"
            )
            raise TrainingError(message)

    def _in_last_step(self, loss: Float[torch.Tensor, ""], batch_index: int) -> Float[torch.Tensor, ""]:
        """The loss of a batch; more in the last step of an epoch, if fewer batches are left for it.

        Lightning divides each loss by `n_batches_per_step`. With this factor the gradient of a shorter step is a mean
        over its batches too.
        """
        n_batches, n_per_step = int(self.trainer.num_training_batches), self.recipe.optimiser.n_batches_per_step
        n_left = n_batches % n_per_step
        return loss * (n_per_step / n_left) if n_left and batch_index >= n_batches - n_left else loss

    def _optimiser(self) -> Optimizer:
        chosen = self.recipe.optimiser
        trained = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": chosen.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        if chosen.name == "sgd":
            return SGD(groups, lr=chosen.learning_rate, momentum=SGD_MOMENTUM, nesterov=True)
        return (Adam if chosen.name == "adam" else AdamW)(groups, lr=chosen.learning_rate)
