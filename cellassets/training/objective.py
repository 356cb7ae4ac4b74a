"""What all objectives have in common, and what those without labels have in common.

`losses.py` is the objective with labels; `masked_autoencoding.py` and `self_distillation.py` are those without.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import nn
from torch.nn import functional

from cellassets.errors import RecipeError
from cellassets.training.backbone import EmbeddingNetwork
from cellassets.training.batches import Batch


class Objective(nn.Module, ABC):
    """What is minimised, with the weights that are needed only for that."""

    @abstractmethod
    def batch_loss(self, network: EmbeddingNetwork, batch: Batch) -> Float[torch.Tensor, ""]:
        """Returns the loss of a batch."""

    @abstractmethod
    def scores(self, embeddings: Float[torch.Tensor, "b d"]) -> Float[torch.Tensor, "b n"]:
        """Returns class scores for prediction."""


class LabelFreeObjective(Objective):
    """An objective without labels. Held-out sites are judged by the class centres of training sites.

    `settle` is called with the features of training sites before held-out sites are judged. `teacher` is the network
    that is judged and registered in place of the trained one, if the objective has one.
    """

    teacher: EmbeddingNetwork | None
    centres: Float[torch.Tensor, "n d"] | None

    def __init__(self) -> None:
        super().__init__()
        self.teacher = None
        self.centres = None  # made again for every validation

    @torch.no_grad()
    def settle(
        self, network: EmbeddingNetwork, features: Float[torch.Tensor, "b f"], labels: Int[torch.Tensor, "b"]
    ) -> None:
        """Makes the centres of the classes: the sums of the embeddings of their sites, each of length 1.

        Args:
            network: the network that is judged, in evaluation mode.
            features: what its backbone says about training sites.
            labels: class of each of them; every class has a site.
        """
        is_own = functional.one_hot(labels).T.to(torch.float32)
        self.centres = is_own @ functional.normalize(network.neck(features))

    def scores(self, embeddings: Float[torch.Tensor, "b d"]) -> Float[torch.Tensor, "b n"]:
        """Returns the cosines with the centres of the classes.

        Raises:
            RecipeError: there are no centres yet.
        """
        if self.centres is None:
            message = "there are no class centres yet: call settle with training sites first"
            raise RecipeError(message)
        return functional.normalize(embeddings) @ functional.normalize(self.centres).T

    def begin_epoch(self, network: EmbeddingNetwork) -> None:
        """Called at the start of every epoch, after the frozen parts of the network are in evaluation mode."""

    def follow(self, network: EmbeddingNetwork, n_steps: int) -> None:
        """Called after every batch with the number of optimiser steps that were done; a teacher moves here."""

    def monitors(
        self,
        network: EmbeddingNetwork,  # noqa: ARG002
        features: Float[torch.Tensor, "b f"],  # noqa: ARG002
    ) -> dict[str, float]:
        """Returns further metrics of the held-out sites whose features are given; none by default."""
        return {}
