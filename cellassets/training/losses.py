"""Heads and losses of weak supervision: cross-entropy, ArcFace and those of `metric_losses.py`, as a weighted sum.

Embeddings come from `backbone.py`, and do not need the heads. `classifier.py` stores the heads in the model folder.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import nn
from torch.nn import functional

from cellassets.training.backbone import EmbeddingNetwork
from cellassets.training.batches import Batch, normalised
from cellassets.training.metric_losses import WeightedMetricLoss
from cellassets.training.objective import Objective
from cellassets.training.recipe import LossParameters
from cellassets.training.sharing import rows_of_all

CENTRE_MEMORY = 0.9  # weight of all earlier batches that held sites of a class


class MixedLabels(NamedTuple):
    """The second label of each image of a batch, and the share of its own label."""

    labels: Int[torch.Tensor, "b"]
    own_frac: Float[torch.Tensor, "b"]


def mixed(
    images: Float[torch.Tensor, "b c y x"], batch: Batch
) -> tuple[Float[torch.Tensor, "own c y x"], MixedLabels | None]:
    """Returns the images of a batch, mixed in pairs if the batch says so, and then their second labels."""
    if batch.partner is None or batch.own_share is None:
        return images, None
    own = batch.own_share
    both = own * images[: len(own)] + (1 - own) * images[batch.partner]
    return both, MixedLabels(batch.labels[batch.partner], own.mean(dim=(1, 2, 3)))


def arcface_logits(
    cosines: Float[torch.Tensor, "b n"], labels: Int[torch.Tensor, "b"], *, margin_rad: float, scale: float
) -> Float[torch.Tensor, "b n"]:
    """Returns scaled cosines with an angular margin added to each row's own class: s cos(theta + m).

    For theta + m > pi the cosine would rise again; there s (cos(theta) - m sin(m)), which keeps falling, replaces it.

    Args:
        cosines: cosine between each embedding and each class's direction.
        labels: own class of each row.
        margin_rad: m, at least 0 and below pi / 2.
        scale: s.

    Source: Deng et al. 2019, ArcFace, equation 3; the continuation past pi is that of the authors' released code.
    """
    own = cosines.gather(1, labels[:, None])
    sine = torch.sqrt((1 - own**2).clamp(min=1e-12))  # clamped: its gradient is infinite at 0
    shifted = own * math.cos(margin_rad) - sine * math.sin(margin_rad)
    is_before_pi = own > math.cos(math.pi - margin_rad)
    shifted = torch.where(is_before_pi, shifted, own - margin_rad * math.sin(margin_rad))
    return scale * cosines.scatter(1, labels[:, None], shifted.to(cosines.dtype))


class Heads(Objective):
    """Class scores of an embedding, and the loss against the labels.

    If no loss has class scores, as with SupCon alone, each class has a centre: the sum of the embeddings of its sites,
    each of length 1, in which older batches count less and less.
    """

    metric: Any  # a list of `WeightedMetricLoss`, in the container of torch
    centres: torch.Tensor | None

    def __init__(self, parameters: LossParameters, *, embedding_dim: int, n_classes: int) -> None:
        super().__init__()
        self.parameters_ = parameters
        self.linear = nn.Linear(embedding_dim, n_classes)
        self.directions = nn.Parameter(torch.empty(n_classes, embedding_dim))
        nn.init.xavier_uniform_(self.directions)
        self.metric = nn.ModuleList(
            WeightedMetricLoss(one, embedding_dim=embedding_dim, n_classes=n_classes)
            for one in parameters.metric_losses
        )
        has_scores = parameters.cross_entropy_weight + parameters.arcface_weight > 0
        has_scores = has_scores or any(one.has_classes for one in self.metric)
        self.register_buffer("centres", None if has_scores else torch.zeros(n_classes, embedding_dim))

    def cosines(self, embeddings: Float[torch.Tensor, "b d"]) -> Float[torch.Tensor, "b n"]:
        """Returns the cosine between each embedding and each class's direction."""
        return functional.normalize(embeddings) @ functional.normalize(self.directions).T

    def batch_loss(self, network: EmbeddingNetwork, batch: Batch) -> Float[torch.Tensor, ""]:
        """Returns the loss of a batch: of the whole one, also where several processes share it."""
        images, second = mixed(normalised(batch), batch)
        if second is not None:
            second = MixedLabels(rows_of_all(second.labels), rows_of_all(second.own_frac))
        labels = rows_of_all(batch.labels[: batch.n_sites])
        return self.loss(rows_of_all(network(images)), labels, second)

    def loss(
        self, embeddings: Float[torch.Tensor, "b d"], labels: Int[torch.Tensor, "b"], mixed: MixedLabels | None = None
    ) -> Float[torch.Tensor, ""]:
        """Returns the weighted sum of the losses, a mean over the batch.

        Args:
            embeddings: of a batch.
            labels: own class of each row.
            mixed: the second labels of mixed images; a loss is then the mean of that for both labels, by their shares.
        """
        weights = self.parameters_
        total = embeddings.new_zeros(())
        if weights.cross_entropy_weight:
            total = total + weights.cross_entropy_weight * _mean(
                partial(self._cross_entropy, embeddings), labels, mixed
            )
        if weights.arcface_weight:
            total = total + weights.arcface_weight * _mean(partial(self._arcface, embeddings), labels, mixed)
        for one in self.metric:
            total = total + one(embeddings, labels)
        if self.centres is not None:
            self.centres = _moved(self.centres, embeddings.detach(), labels)
        return total

    def scores(self, embeddings: Float[torch.Tensor, "b d"]) -> Float[torch.Tensor, "b n"]:
        """Returns class scores for prediction: the log-probabilities of all heads, weighted like their losses.

        If no loss has class scores, they are the cosines with the centres of the classes.
        """
        weights = self.parameters_
        if self.centres is not None:
            return functional.normalize(embeddings.float()) @ functional.normalize(self.centres).T
        linear = functional.log_softmax(self.linear(embeddings), dim=1)
        angular = functional.log_softmax(weights.arcface_scale * self.cosines(embeddings), dim=1)
        scores = weights.cross_entropy_weight * linear + weights.arcface_weight * angular
        return sum((one.scores(embeddings) for one in self.metric if one.has_classes), scores)

    def _cross_entropy(
        self, embeddings: Float[torch.Tensor, "b d"], labels: Int[torch.Tensor, "b"], reduction: str
    ) -> torch.Tensor:
        smoothing = self.parameters_.label_smoothing
        return functional.cross_entropy(self.linear(embeddings), labels, label_smoothing=smoothing, reduction=reduction)

    def _arcface(
        self, embeddings: Float[torch.Tensor, "b d"], labels: Int[torch.Tensor, "b"], reduction: str
    ) -> torch.Tensor:
        margin, scale = self.parameters_.arcface_margin_rad, self.parameters_.arcface_scale
        logits = arcface_logits(self.cosines(embeddings), labels, margin_rad=margin, scale=scale)
        return functional.cross_entropy(logits, labels, reduction=reduction)


def _mean(
    loss: Callable[[torch.Tensor, str], torch.Tensor], labels: Int[torch.Tensor, "b"], mixed: MixedLabels | None
) -> Float[torch.Tensor, ""]:
    """The mean of a loss over a batch; of mixed images, the loss for both labels, each by its share."""
    if mixed is None:
        return loss(labels, "mean")
    own, other = loss(labels, "none"), loss(mixed.labels, "none")
    return (mixed.own_frac * own + (1 - mixed.own_frac) * other).mean()


def _moved(
    centres: Float[torch.Tensor, "n d"], embeddings: Float[torch.Tensor, "b d"], labels: Int[torch.Tensor, "b"]
) -> Float[torch.Tensor, "n d"]:
    """The centres after a batch; those of classes without a site in it stay."""
    is_own = functional.one_hot(labels, len(centres)).T.to(torch.float32)
    with torch.autocast(embeddings.device.type, enabled=False):
        moved = CENTRE_MEMORY * centres + is_own @ functional.normalize(embeddings.float())
    return torch.where(is_own.any(dim=1, keepdim=True), moved, centres)
