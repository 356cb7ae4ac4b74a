"""Heads and losses of weak supervision: cross-entropy, ArcFace, or a weighted sum of both on the same embedding.

Embeddings come from `backbone.py`. Heads are used only in training; the model folder does not contain them.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import nn
from torch.nn import functional

from cellassets.training.recipe import LossParameters


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

    def __init__(self, parameters: LossParameters, *, embedding_dim: int, n_classes: int) -> None:
        super().__init__()
        self.parameters_ = parameters
        self.linear = nn.Linear(embedding_dim, n_classes)
        self.directions = nn.Parameter(torch.empty(n_classes, embedding_dim))
        nn.init.xavier_uniform_(self.directions)

    def cosines(self, embeddings: Float[torch.Tensor, "b d"]) -> Float[torch.Tensor, "b n"]:
        """Returns the cosine between each embedding and each class's direction."""
        return functional.normalize(embeddings) @ functional.normalize(self.directions).T

    def loss(self, embeddings: Float[torch.Tensor, "b d"], labels: Int[torch.Tensor, "b"]) -> Float[torch.Tensor, ""]:
        """Returns the weighted sum of the losses, a mean over the batch."""
        weights = self.parameters_
        total = embeddings.new_zeros(())
        if weights.cross_entropy_weight:
            entropy = functional.cross_entropy(self.linear(embeddings), labels, label_smoothing=weights.label_smoothing)
            total = total + weights.cross_entropy_weight * entropy
        if weights.arcface_weight:
            logits = arcface_logits(
                self.cosines(embeddings), labels, margin_rad=weights.arcface_margin_rad, scale=weights.arcface_scale
            )
            total = total + weights.arcface_weight * functional.cross_entropy(logits, labels)
        return total

    def scores(self, embeddings: Float[torch.Tensor, "b d"]) -> Float[torch.Tensor, "b n"]:
        """Returns class scores for prediction: the log-probabilities of both heads, weighted like their losses."""
        weights = self.parameters_
        linear = functional.log_softmax(self.linear(embeddings), dim=1)
        angular = functional.log_softmax(weights.arcface_scale * self.cosines(embeddings), dim=1)
        return weights.cross_entropy_weight * linear + weights.arcface_weight * angular
