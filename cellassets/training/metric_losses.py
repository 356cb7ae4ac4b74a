"""Losses of the library pytorch-metric-learning, built from the recipe.

`losses.py` adds them to the losses that cellassets computes itself.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from pytorch_metric_learning import losses
from torch import nn

from cellassets.training.recipe import CosFaceLoss, MetricLoss, MultiSimilarityLoss, SubCentreArcFaceLoss, SupConLoss


class WeightedMetricLoss(nn.Module):
    """One loss of the library and its weight. The arithmetic is in float32, also in mixed precision."""

    computed: Any  # a loss of the library, which has no types

    def __init__(self, parameters: MetricLoss, *, embedding_dim: int, n_classes: int) -> None:
        super().__init__()
        self.weight = parameters.weight
        self.computed = _built(parameters, embedding_dim, n_classes)

    def forward(
        self, embeddings: Float[torch.Tensor, "b d"], labels: Int[torch.Tensor, "b"]
    ) -> Float[torch.Tensor, ""]:
        """Returns the loss of a batch, times its weight."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.weight * self.computed(embeddings.float(), labels)

    @property
    def has_classes(self) -> bool:
        """Whether the loss has a direction for each class, so that it can predict the class of a site."""
        return hasattr(self.computed, "get_logits")

    def scores(self, embeddings: Float[torch.Tensor, "b d"]) -> Float[torch.Tensor, "b n"]:
        """Returns the log-probabilities of the classes without a margin, times the weight."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.weight * torch.log_softmax(self.computed.get_logits(embeddings.float()), dim=1)


def _built(parameters: MetricLoss, embedding_dim: int, n_classes: int) -> nn.Module:
    match parameters:
        case SupConLoss():
            return losses.SupConLoss(temperature=parameters.temperature)
        case MultiSimilarityLoss():
            return losses.MultiSimilarityLoss(alpha=parameters.alpha, beta=parameters.beta, base=parameters.base)
        case SubCentreArcFaceLoss():
            return losses.SubCenterArcFaceLoss(
                num_classes=n_classes,
                embedding_size=embedding_dim,
                margin=torch.rad2deg(torch.tensor(parameters.margin_rad)).item(),
                scale=parameters.scale,
                sub_centers=parameters.n_subcentres,
            )
        case CosFaceLoss():
            return losses.CosFaceLoss(
                num_classes=n_classes, embedding_size=embedding_dim, margin=parameters.margin, scale=parameters.scale
            )
