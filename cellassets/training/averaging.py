"""The exponential moving average of a network and its heads, which is judged and registered in their place."""

import copy
from itertools import chain

import torch
from torch import nn

from cellassets.training.backbone import EmbeddingNetwork
from cellassets.training.objective import Objective


class MovingAverage(nn.Module):
    """Copies of a network and of its heads whose numbers follow theirs slowly.

    After each step a <- d a + (1 - d) w, for the weights and for the running statistics of normalisation layers. In
    step n, counted from 0, d is min(decay, (1 + n) / (10 + n)): otherwise the random first weights would stay in the
    average of a short training. The copies and the number of steps are part of the module's state.

    Source: Polyak & Juditsky 1992; the rule for the first steps is that of tf.train.ExponentialMovingAverage.
    """

    n_updates: torch.Tensor

    def __init__(self, network: EmbeddingNetwork, heads: Objective, decay: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self.heads = copy.deepcopy(heads).requires_grad_(requires_grad=False)
        self.decay = decay
        self.register_buffer("n_updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, network: EmbeddingNetwork, heads: Objective) -> None:
        """Follows a network and its heads by one step. Numbers that are not floats, such as counters, are copied."""
        n = int(self.n_updates)
        decay = min(self.decay, (1 + n) / (10 + n))
        averages = chain(self.network.state_dict().values(), self.heads.state_dict().values())
        for average, now in zip(
            averages, chain(network.state_dict().values(), heads.state_dict().values()), strict=True
        ):
            if average.is_floating_point():
                average.lerp_(now, 1 - decay)
            else:
                average.copy_(now)
        self.n_updates += 1
