"""Heads and losses of weak supervision: cross-entropy, ArcFace and those of `metric_losses.py`, as a weighted sum.

Embeddings come from `backbone.py`. Heads are used only in training; the model folder does not contain them.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import nn
from torch.nn import functional

from cellassets.training.metric_losses import WeightedMetricLoss
from cellassets.training.recipe import LossParameters


class MixedLabels(NamedTuple):
    """The second label of each image of a batch, and the share of its own label."""

    labels: Int[torch.Tensor, "b"]
    own_frac: Float[torch.Tensor, "b"]


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


class Heads(nn.Module):
    """Class scores of an embedding, and the loss against the labels."""

    metric: Any  # a list of `WeightedMetricLoss`, in the container of torch

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

    def cosines(self, embeddings: Float[torch.Tensor, "b d"]) -> Float[torch.Tensor, "b n"]:
        """Returns the cosine between each embedding and each class's direction."""
        return functional.normalize(embeddings) @ functional.normalize(self.directions).T

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
        if self.is_probed:
            probe = functional.cross_entropy(self.linear(embeddings.detach()), labels)
            total = total + probe - probe.detach()  # adds a gradient for the linear layer, and nothing to the value
        return total

    @property
    def is_probed(self) -> bool:
        """Whether no loss gives class scores, so that a linear layer learns them beside the training."""
        weights = self.parameters_
        return weights.cross_entropy_weight + weights.arcface_weight == 0 and not any(
            m.has_classes for m in self.metric
        )

    def scores(self, embeddings: Float[torch.Tensor, "b d"]) -> Float[torch.Tensor, "b n"]:
        """Returns class scores for prediction: the log-probabilities of all heads, weighted like their losses."""
        weights = self.parameters_
        linear = functional.log_softmax(self.linear(embeddings), dim=1)
        if self.is_probed:
            return linear
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
