"""Trainings without labels: the Lightning module, and its batches.

Objectives are in `masked_autoencoding.py` and `self_distillation.py`. Labels are used only to judge held-out sites, so
that curves, early stopping and checks are those of every training.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int

from cellassets.errors import TrainingError
from cellassets.training.backbone import EmbeddingNetwork
from cellassets.training.batches import Batch, TrainBatches, ValidationBatches, normalised
from cellassets.training.extras import Extras
from cellassets.training.fit import Batches
from cellassets.training.module import OnEpoch, PerturbationClassifier
from cellassets.training.objective import LabelFreeObjective
from cellassets.training.recipe import NetworkRecipe
from cellassets.training.sampling import order_of
from cellassets.training.self_distillation import EMBEDDING_STD, PROTOTYPE_INFORMATION
from cellassets.training.sites import NO_CLASS

N_REFERENCE = 4096
REFERENCE, HELD_OUT_LOSS, HELD_OUT = range(3)
LEAST = {EMBEDDING_STD: 0.01, PROTOTYPE_INFORMATION: 0.001}  # of sites that are not all alike
MIN_STEPS = 100  # after which centre and teacher have settled


class LabelFreeBatches(Batches):
    """Training batches with crops or hidden patches; for validation, training sites and held-out sites."""

    def train_dataloader(self) -> TrainBatches:
        """Returns the batches of the current epoch."""
        return replace(super().train_dataloader(), extras=Extras(self.recipe))

    def val_dataloader(self) -> tuple[TrainBatches | ValidationBatches, ...]:
        """Returns training sites with a class, held-out sites as in training, and held-out sites as they are judged.

        The crops and hidden patches of held-out sites are the same at every validation.
        """
        train, held_out, recipe = self.split.train, self.split.validation, self.recipe
        rows = reference_rows(train.labels, recipe.seed)
        reference = ValidationBatches(
            train.subset(rows),
            lambda positions: self.readers[0](rows[positions]),
            recipe.centre_crop_px,
            batch_size=recipe.batch_size,
        )
        as_in_training = TrainBatches(
            held_out,
            self.readers[1],
            recipe.augmentation,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            epoch=recipe.n_epochs,  # an epoch that is never trained
            order=order_of(recipe),
            extras=Extras(recipe),
        )
        judged = ValidationBatches(held_out, self.readers[1], recipe.centre_crop_px, batch_size=recipe.batch_size)
        return reference, as_in_training, judged


def reference_rows(labels: Int[np.ndarray, "site"], seed: int, n_most: int = N_REFERENCE) -> Int[np.ndarray, "chosen"]:
    """Returns the sites that class centres are made from, in their order: those that have a class.

    If there are too many, some sites of each class are drawn: equally many, where a class has that many.

    Args:
        labels: class of each site, or `NO_CLASS`.
        seed: of the draw.
        n_most: most sites that are taken; at least one of each class is.
    """
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(labels != NO_CLASS))
    by_class = rows[np.argsort(labels[rows], kind="stable")]
    _, first, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    place_in_class = np.arange(len(by_class)) - np.repeat(first, counts)
    chosen = by_class[np.argsort(place_in_class, kind="stable")][: max(n_most, len(counts))]
    return np.sort(chosen)


class LabelFreeTraining(PerturbationClassifier):
    """A network that learns without labels.

    Held-out sites are given to the class whose centre has the largest cosine with their embedding; a centre is the sum
    of the embeddings of training sites, made again for each validation.
    """

    heads: LabelFreeObjective

    def __init__(
        self,
        network: EmbeddingNetwork,
        heads: LabelFreeObjective,
        *,
        recipe: NetworkRecipe,
        n_steps: int,
        on_epoch: OnEpoch,
    ) -> None:
        super().__init__(network, heads, recipe=recipe, n_steps=n_steps, on_epoch=on_epoch)
        self._seen: tuple[list[list[torch.Tensor]], ...] = ([], [], [])

    @property
    def judged(self) -> tuple[EmbeddingNetwork, LabelFreeObjective]:
        """The network that is judged and registered: the teacher, the average, or the network itself."""
        network, heads = super().judged
        if not isinstance(heads, LabelFreeObjective):
            raise TypeError(heads)
        return heads.teacher or network, heads

    def on_train_epoch_start(self) -> None:
        """Has the frozen parts of a teacher keep their statistics, as those of the network do."""
        super().on_train_epoch_start()
        self.heads.begin_epoch(self.network)

    def on_train_batch_end(self, outputs: object, batch: Batch, batch_idx: int) -> None:
        """Follows each step by the teacher too."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        self.heads.follow(self.network, self.global_step)

    def validation_step(self, batch: Batch, batch_index: int, dataloader_idx: int = HELD_OUT) -> None:  # noqa: ARG002
        """Keeps the loss of held-out sites, or the features of sites with their labels and experiments."""
        network, heads = self.judged
        if dataloader_idx == HELD_OUT_LOSS:
            found = [heads.batch_loss(network if heads.teacher is None else self.network, batch)[None]]
        else:
            found = [network.backbone(normalised(batch)).float(), batch.labels, batch.store_index]
        self._seen[dataloader_idx].append(found)

    def on_validation_epoch_end(self) -> None:
        """Judges the held-out sites by the class centres of training sites.

        Raises:
            RecipeError: there are too few training sites for the length of the embedding.
            TrainingError: the embeddings of all sites have become alike.
        """
        network, heads = self.judged
        reference, losses, held_out = ([torch.cat(parts) for parts in zip(*seen, strict=True)] for seen in self._seen)
        for seen in self._seen:
            seen.clear()
        features, labels, store_index = held_out
        heads.settle(network, reference[0], reference[1])
        predicted = heads.scores(network.neck(features)).argmax(dim=1)
        self._found.append(torch.stack([labels, predicted, store_index.to(labels.dtype)]).cpu().numpy())
        super().on_validation_epoch_end()
        monitors = heads.monitors(network, features)
        self.metrics |= {"validation_loss": float(losses[0].float().mean()), **monitors}
        self._refuse_collapse(monitors)

    def _refuse_collapse(self, monitors: Mapping[str, float]) -> None:
        """Ends a training in which the measures of `SelfDistiller.monitors` say that all sites look alike.

        Early in a training the answers of a teacher can be nearly the same for a while, and recover.
        """
        is_late = 2 * (self.current_epoch + 1) >= self.recipe.n_epochs and self.global_step >= MIN_STEPS
        least = LEAST if is_late else {EMBEDDING_STD: LEAST[EMBEDDING_STD]}
        low = {name: value for name, value in monitors.items() if name in least and not value >= least[name]}
        if low:
            told = " and ".join(f"{name} is {value:.2g}" for name, value in low.items())
            message = (
                f"{self.recipe.name}: collapsed in epoch {self.current_epoch + 1}: {told}, so all sites "
                "look alike to the network: lower optimiser.learning_rate or objective.teacher_temperature, set "
                "optimiser.max_gradient_norm, or raise batch_size or objective.teacher_momentum"
            )
            raise TrainingError(message)
