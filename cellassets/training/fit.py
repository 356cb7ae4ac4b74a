"""Runs Lightning's trainer over a recipe, and stores the state of the training after every epoch.

The state (weights, optimiser, schedule, epoch) is kept by `attempts.py`, where the next process finds it, on whichever
machine it runs. The model folder for others is written by `checkpoint.py`.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as lightning
import torch
from lightning_fabric.plugins import CheckpointIO

from cellassets.machine import n_cores
from cellassets.training.attempts import Attempt
from cellassets.training.batches import ImageReader, TrainBatches, ValidationBatches
from cellassets.training.memory import keep_freed_memory
from cellassets.training.module import PerturbationClassifier
from cellassets.training.pace import Pace
from cellassets.training.packing import pack, unpack
from cellassets.training.recipe import NetworkRecipe
from cellassets.training.sampling import order_of
from cellassets.training.sharing import WHOLE, Share
from cellassets.training.sites import Split
from cellassets.training.strategies import prepare_for_sharing, trainer_devices

STATE = "the state of the attempt"  # Lightning wants a path, which `States` does not need


class Batches(lightning.LightningDataModule):
    """Gives the trainer new training batches before each epoch."""

    def __init__(
        self,
        split: Split,
        readers: tuple[ImageReader, ImageReader],
        recipe: NetworkRecipe,
        pace: Pace,
        *,
        share: Share = WHOLE,
    ) -> None:
        super().__init__()
        self.share = share
        self.pace = pace
        self.split = split
        self.readers = readers
        self.recipe = recipe

    def train_dataloader(self) -> TrainBatches:
        """Returns the batches of the current epoch."""
        return TrainBatches(
            self.split.train,
            self.readers[0],
            self.recipe.augmentation,
            batch_size=self.recipe.batch_size,
            seed=self.recipe.seed,
            epoch=self.trainer.current_epoch if self.trainer is not None else 0,
            n_threads=_n_read_threads(),
            on_wait=self.pace.waited,
            order=order_of(self.recipe),
            share=self.share,
        )

    def val_dataloader(self) -> ValidationBatches | tuple[TrainBatches | ValidationBatches, ...]:
        """Returns the held-out sites."""
        return ValidationBatches(
            self.split.validation,
            self.readers[1],
            self.recipe.centre_crop_px,
            batch_size=self.recipe.batch_size,
            share=self.share,
            n_threads=_n_read_threads(),
        )


def _n_read_threads() -> int:
    """Two threads keep up with a training on a CPU; beside a GPU every core may read."""
    return max(n_cores(), 2) if torch.cuda.is_available() else 2


class States(CheckpointIO):
    """Where Lightning stores and finds its state: not in a file that it names, but with the attempt."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.last = attempt.last_state()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: object, storage_options: object = None) -> None:  # noqa: ARG002
        """Stores everything that a later process needs to continue."""
        self.attempt.save(checkpoint["epoch"], pack(checkpoint))

    def load_checkpoint(self, path: object, map_location: object = None, weights_only: bool | None = None) -> Any:  # noqa: ARG002
        """Returns the last complete state."""
        return unpack(self.last) if self.last is not None else None

    def remove_checkpoint(self, path: object) -> None:
        """Does nothing: the attempt removes older states."""


class EveryEpoch(lightning.callbacks.Checkpoint):
    """Stores the state after each epoch."""

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Has Lightning collect the state and give it to `States`."""
        trainer.save_checkpoint(STATE)


def fit(module: PerturbationClassifier, batches: Batches, *, recipe: NetworkRecipe, attempt: Attempt) -> None:
    """Trains `module` to the recipe's last epoch, from the last state that an attempt has left.

    Raises:
        TrainingError: the loss is not finite.
        StaleArtifact: another process took over.
    """
    states = States(attempt)
    keep_freed_memory()
    prepare_for_sharing(module, recipe.devices)
    with _quiet_lightning(), torch.random.fork_rng(devices=[]):  # each epoch seeds the generator
        trainer = lightning.Trainer(
            **trainer_devices(recipe.devices),
            max_epochs=recipe.n_epochs,
            precision=recipe.precision,
            accumulate_grad_batches=recipe.optimiser.n_batches_per_step,
            gradient_clip_val=recipe.optimiser.max_gradient_norm,
            check_val_every_n_epoch=recipe.validate_every_n_epochs,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            callbacks=[EveryEpoch()],
            plugins=[states],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, datamodule=batches, ckpt_path=None if states.last is None else STATE)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silences Lightning's banners, and its advice on data loaders, which does not apply to these batches."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pytorch_lightning\.|lightning_fabric\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
