"""The Lightning module: what happens to a batch, and what is measured on held-out experiments.

Batches come from `batches.py`, networks and heads from `backbone.py` and `losses.py`. The module neither prints nor
logs. It passes the metrics of each epoch to `on_epoch`, and each batch to `on_step`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from jaxtyping import Float
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from cellassets.errors import TrainingError
from cellassets.training.backbone import EmbeddingNetwork
from cellassets.training.batches import Batch
from cellassets.training.losses import Heads
from cellassets.training.metrics import validation_metrics
from cellassets.training.pace import Pace
from cellassets.training.recipe import NetworkRecipe
from cellassets.training.schedule import learning_rate_factor

SGD_MOMENTUM = 0.9

OnEpoch = Callable[[int, dict[str, float]], None]
OnStep = Callable[[int, float | None], None]


def _ignore_step(n_done: int, loss: float | None) -> None:
    pass


def normalised(batch: Batch) -> Float[torch.Tensor, "b c y x"]:
    """Returns the normalised images of a batch as float32: scale * image + shift, for each channel."""
    images = batch.images.to(torch.float32, memory_format=torch.channels_last)
    return torch.addcmul(batch.shift[:, :, None, None], images, batch.scale[:, :, None, None])


class PerturbationClassifier(lightning.LightningModule):
    """A network that learns to distinguish perturbations."""

    def __init__(
        self, network: EmbeddingNetwork, heads: Heads, *, recipe: NetworkRecipe, n_steps: int, on_epoch: OnEpoch
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
        self._losses: list[float] = []
        self._found: list[np.ndarray] = []

    def on_train_epoch_start(self) -> None:
        """Deletes the metrics of the last epoch."""
        self.metrics = {}
        self.pace.begin()

    def training_step(self, batch: Batch, batch_index: int) -> Float[torch.Tensor, ""]:
        """Returns the loss of a batch.

        Raises:
            TrainingError: it is not finite.
        """
        loss = self.heads.loss(self.network(normalised(batch)), batch.labels)
        value = float(loss.detach())
        if not np.isfinite(value):
            message = (
                f"{self.recipe.name}: loss is {value} in epoch {self.current_epoch + 1}, batch {batch_index + 1}: "
                "lower optimiser.learning_rate, or raise optimiser.warmup_frac"
            )
            raise TrainingError(message)
        self._losses.append(value)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Ends the timing of the epoch's training part."""
        self.pace.end()

    def on_train_batch_end(self, outputs: object, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Passes on how many batches were trained, and the loss of the last one."""
        self.pace.trained(len(batch.labels))
        self.on_step(self.global_step, self._losses[-1])

    def validation_step(self, batch: Batch, batch_index: int) -> None:  # noqa: ARG002
        """Stores label, prediction and experiment of every held-out site."""
        scores = self.heads.scores(self.network(normalised(batch)))
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
        self.on_step(self.global_step, None)

    def on_validation_epoch_end(self) -> None:
        """Computes the metrics of the epoch from the stored predictions."""
        labels, predicted, store_index = np.concatenate(self._found, axis=1)
        self._found.clear()
        self.metrics = validation_metrics(
            labels,
            predicted,
            batches=store_index - len(self.recipe.train_experiments),
            names=list(self.recipe.validation_experiments),
        )

    def on_train_epoch_end(self) -> None:
        """Passes on the metrics of the epoch. Validation has run before this, in the epochs that have one."""
        self.metrics["train_loss"] = float(np.mean(self._losses))
        self.metrics["learning_rate"] = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        self._losses.clear()
        shown = {**self.metrics, **self.pace.measured()}
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

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the metrics."""
        self.metrics = dict(checkpoint["metrics"])
        self.history = list(checkpoint.get("history", ()))  # states of earlier versions have none

    def _optimiser(self) -> Optimizer:
        chosen = self.recipe.optimiser
        trained = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": chosen.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        if chosen.name == "sgd":
            return SGD(groups, lr=chosen.learning_rate, momentum=SGD_MOMENTUM, nesterov=True)
        return AdamW(groups, lr=chosen.learning_rate)
