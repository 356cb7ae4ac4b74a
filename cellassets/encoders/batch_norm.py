"""Batch normalisation with the statistics of other images than those of the training."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def adapt_batch_norm(network: nn.Module, batches: Iterable[Float[torch.Tensor, "site channel h w"]]) -> None:
    """Sets the running statistics of every batch normalisation to the mean of those of some batches.

    Args:
        network: in evaluation mode, before and after.
        batches: normalised images, at least two in each batch.
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean of all batches
        layer.train()
    try:
        with torch.inference_mode():
            for batch in batches:
                network(batch)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
