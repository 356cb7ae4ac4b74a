"""The neck of a network whose objective does not reach it: principal components of the backbone's features."""

from typing import Any

import torch
from jaxtyping import Float
from torch import nn

from cellassets.errors import RecipeError


@torch.no_grad()
def fit_neck(neck: nn.Sequential, features: Float[torch.Tensor, "b f"]) -> None:
    """Makes a neck turn features into their first principal components, each with a mean of 0 and a variance of 1.

    The sign of a component is that which makes its largest weight positive, so the same features give the same neck.

    Args:
        neck: a linear layer without bias, and batch normalisation.
        features: of training sites; more sites than the embedding is long.

    Raises:
        RecipeError: there are too few sites.
    """
    linear: Any = neck[0]  # of torch's types a container knows nothing
    norm: Any = neck[1]
    n_sites, n_components = len(features), linear.weight.shape[0]
    if n_sites <= n_components:
        message = (
            f"embedding_dim is {n_components}, and {n_sites} training sites of a class have at most "
            f"{n_sites - 1} principal components: lower embedding_dim"
        )
        raise RecipeError(message)
    exact = features.double().cpu()
    mean = exact.mean(dim=0)
    variances, directions = torch.linalg.eigh((exact - mean).T @ (exact - mean) / n_sites)
    weights = directions.flip(1).T[:n_components]
    largest = weights.gather(1, weights.abs().argmax(dim=1, keepdim=True))
    weights = weights * largest.sign()
    linear.weight.copy_(weights)
    norm.running_mean.copy_(weights @ mean)
    norm.running_var.copy_(variances.flip(0)[:n_components].clamp(min=0))
    norm.weight.fill_(1.0)
    norm.bias.zero_()
