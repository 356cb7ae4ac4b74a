"""The Lightning module and the batches that belong to the objective of a recipe."""

from cellassets.errors import RecipeError
from cellassets.training.backbone import EmbeddingNetwork, seeded
from cellassets.training.batches import ImageReader
from cellassets.training.fit import Batches
from cellassets.training.label_free import LabelFreeBatches, LabelFreeTraining
from cellassets.training.losses import Heads
from cellassets.training.masked_autoencoding import MaskedAutoencoder
from cellassets.training.module import OnEpoch, PerturbationClassifier, ignore_epoch
from cellassets.training.objective import LabelFreeObjective
from cellassets.training.recipe import (
    Classification,
    DinoV2Backbone,
    MaskedAutoencoding,
    NetworkRecipe,
    SelfDistillation,
    VitBackbone,
)
from cellassets.training.self_distillation import SelfDistiller
from cellassets.training.sharing import WHOLE, Share
from cellassets.training.sites import Split


def build_module(
    network: EmbeddingNetwork, recipe: NetworkRecipe, split: Split, *, n_steps: int, on_epoch: OnEpoch = ignore_epoch
) -> PerturbationClassifier:
    """Returns the module that trains a network, with random weights that depend only on the seed of the recipe.

    Args:
        network: the network, with the weights that it starts from.
        recipe: how to train.
        split: the sites.
        n_steps: optimiser steps in all epochs.
        on_epoch: called at the end of every epoch.

    Raises:
        RecipeError: the objective does not fit the backbone.
    """
    with seeded(recipe.seed):
        if isinstance(recipe.objective, Classification):
            heads = Heads(recipe.loss, embedding_dim=recipe.embedding_dim, n_classes=len(split.class_names))
            return PerturbationClassifier(network, heads, recipe=recipe, n_steps=n_steps, on_epoch=on_epoch)
        objective = _label_free(network, recipe, n_channels=split.train.scale.shape[1], n_steps=n_steps)
    return LabelFreeTraining(network, objective, recipe=recipe, n_steps=n_steps, on_epoch=on_epoch)


def batches_of(
    module: PerturbationClassifier, split: Split, readers: tuple[ImageReader, ImageReader], *, share: Share = WHOLE
) -> Batches:
    """Returns the batches for a module.

    Args:
        module: from `build_module`.
        split: the sites.
        readers: give the images of training sites and of held-out sites.
        share: the part of every batch that this process takes.
    """
    made = LabelFreeBatches if isinstance(module, LabelFreeTraining) else Batches
    return made(split, readers, module.recipe, module.pace, share=share)


def _label_free(
    network: EmbeddingNetwork, recipe: NetworkRecipe, *, n_channels: int, n_steps: int
) -> LabelFreeObjective:
    match recipe.objective, recipe.backbone:
        case SelfDistillation() as chosen, _:
            return SelfDistiller(chosen, network, embedding_dim=recipe.embedding_dim, n_steps=n_steps)
        case MaskedAutoencoding() as chosen, VitBackbone() | DinoV2Backbone() as backbone:
            return MaskedAutoencoder(chosen, network, backbone, n_channels=n_channels)
    message = f"objective {recipe.objective.name} does not fit backbone.family {recipe.backbone.family}"
    raise RecipeError(message)
