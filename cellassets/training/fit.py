"""Runs Lightning's trainer over a recipe, with a checkpoint after every epoch.

The checkpoint is a file of Lightning in the work folder. Only this module writes and reads it, with
`weights_only=True`, and it never leaves that folder. The model folder for others is written by `checkpoint.py`.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as lightning

from cellassets.training.batches import ImageReader, TrainBatches, ValidationBatches
from cellassets.training.memory import keep_freed_memory
from cellassets.training.module import PerturbationClassifier
from cellassets.training.recipe import NetworkRecipe
from cellassets.training.sites import Split

LAST_CHECKPOINT = "last.ckpt"


class Batches(lightning.LightningDataModule):
    """Gives the trainer new training batches before each epoch."""

    def __init__(self, split: Split, readers: tuple[ImageReader, ImageReader], recipe: NetworkRecipe) -> None:
        super().__init__()
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
        )

    def val_dataloader(self) -> ValidationBatches:
        """Returns the held-out sites."""
        return ValidationBatches(
            self.split.validation, self.readers[1], self.recipe.centre_crop_px, batch_size=self.recipe.batch_size
        )


class LastEpoch(lightning.callbacks.Checkpoint):
    """Keeps one checkpoint in a folder. It is replaced in one step after each epoch, so it is never incomplete."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LAST_CHECKPOINT

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:  # noqa: ARG002
        """Saves everything that a later process needs to continue: weights, optimiser, schedule, epoch."""
        unfinished = self.path.with_suffix(".unfinished")
        trainer.save_checkpoint(unfinished)
        unfinished.replace(self.path)


def fit(module: PerturbationClassifier, batches: Batches, *, recipe: NetworkRecipe, work_dir: Path) -> None:
    """Trains `module` to the recipe's last epoch, from the last checkpoint in `work_dir` if there is one.

    Raises:
        TrainingError: the loss is not finite.
    """
    last = work_dir / LAST_CHECKPOINT
    keep_freed_memory()
    with _quiet_lightning():
        trainer = lightning.Trainer(
            accelerator="auto",
            devices=1,
            max_epochs=recipe.n_epochs,
            precision=recipe.precision,
            check_val_every_n_epoch=recipe.validate_every_n_epochs,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            callbacks=[LastEpoch(work_dir)],
            default_root_dir=work_dir,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, datamodule=batches, ckpt_path=last if last.is_file() else None, weights_only=True)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silences Lightning's banners, and its advice on data loaders, which does not apply to these batches."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pytorch_lightning\.|lightning_fabric\.")
            yield
    finally:
        logger.setLevel(level)
