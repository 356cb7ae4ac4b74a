"""Self-distillation: a student predicts what a teacher, its own moving average, says about other crops of a site.

Crops are drawn in `extras.py`. The teacher's network becomes the model; the heads are used only in training.
"""

import copy
import math
from itertools import chain

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional

from cellassets.training.backbone import EmbeddingNetwork
from cellassets.training.batches import Batch, normalised
from cellassets.training.objective import LabelFreeObjective
from cellassets.training.recipe import SelfDistillation

WEIGHT_STD = 0.02  # of the authors' released code
N_GLOBAL = 2
EMBEDDING_STD, PROTOTYPE_INFORMATION = "embedding_std", "prototype_information"  # metrics


class PrototypeHead(nn.Module):
    """From an embedding to its cosines with the prototypes, by three layers and a bottleneck.

    Source: Caron et al. 2021, section 3.1, and appendix C.
    """

    def __init__(self, parameters: SelfDistillation, embedding_dim: int) -> None:
        super().__init__()
        width = parameters.hidden_dim
        self.layers = nn.Sequential(
            nn.Linear(embedding_dim, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, parameters.bottleneck_dim),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=WEIGHT_STD)
                nn.init.zeros_(layer.bias)
        directions = torch.randn(parameters.n_prototypes, parameters.bottleneck_dim)
        self.prototypes = nn.Parameter(functional.normalize(directions))

    def forward(self, embeddings: Float[torch.Tensor, "b d"]) -> Float[torch.Tensor, "b k"]:
        """Returns the cosine between each embedding, after the layers, and each prototype."""
        return functional.normalize(self.layers(embeddings)) @ functional.normalize(self.prototypes).T


class SelfDistiller(LabelFreeObjective):
    """Student head, teacher, centre, and the loss between the two.

    `n_steps` is the number of optimiser steps in all epochs; momentum and temperature follow it.
    """

    teacher: EmbeddingNetwork
    centre: torch.Tensor
    n_updates: torch.Tensor

    def __init__(
        self, parameters: SelfDistillation, network: EmbeddingNetwork, *, embedding_dim: int, n_steps: int
    ) -> None:
        super().__init__()
        self.parameters_, self.n_steps = parameters, n_steps
        self.head = PrototypeHead(parameters, embedding_dim)
        teacher = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self.teacher = teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teacher_head = copy.deepcopy(self.head).requires_grad_(requires_grad=False)
        self.register_buffer("centre", torch.zeros(parameters.n_prototypes))
        self.register_buffer("n_updates", torch.zeros((), dtype=torch.int64))

    def batch_loss(self, network: EmbeddingNetwork, batch: Batch) -> Float[torch.Tensor, ""]:
        """Returns the loss of a batch. In training the centre follows the teacher's answers.

        The teacher normalises by the batch too, so its running statistics are those of large crops.
        """
        large = torch.cat([normalised(batch), normalised(batch.views[0])])
        answers = [self.head(network(large)).float().unflatten(0, (N_GLOBAL, -1))]
        small = batch.views[1:]
        if small:
            together = torch.cat([normalised(view) for view in small])
            answers.append(self.head(network(together)).float().unflatten(0, (len(small), -1)))
        with torch.no_grad():
            told = self.teacher_head(self.teacher(large)).float().unflatten(0, (N_GLOBAL, -1))
        with torch.autocast(told.device.type, enabled=False):
            loss = distillation_loss(
                torch.cat(answers) / self.parameters_.student_temperature, self.probabilities(told)
            )
        if self.training:
            self._follow_centre(told)
        return loss

    def probabilities(self, told: Float[torch.Tensor, "... k"]) -> Float[torch.Tensor, "... k"]:
        """Returns the teacher's answers as probabilities: centred, and sharpened by the present temperature."""
        return functional.softmax((told - self.centre) / teacher_temperature(self._done_frac(), self.parameters_), -1)

    @torch.no_grad()
    def follow(self, network: EmbeddingNetwork, n_steps: int) -> None:
        """Moves the teacher towards the student after a new step: t <- m t + (1 - m) s, for every weight."""
        if int(self.n_updates) >= n_steps:
            return
        momentum = teacher_momentum(self._done_frac(), self.parameters_)
        own = chain(self.teacher.parameters(), self.teacher_head.parameters())
        for teacher, student in zip(own, chain(network.parameters(), self.head.parameters()), strict=True):
            teacher.lerp_(student, 1 - momentum)
        self.n_updates += 1

    def begin_epoch(self, network: EmbeddingNetwork) -> None:
        """Puts the frozen parts of the teacher into evaluation mode, as those of the student are."""
        for teacher, student in zip(self.teacher.modules(), network.modules(), strict=True):
            teacher.training = student.training

    @torch.no_grad()
    def monitors(self, network: EmbeddingNetwork, features: Float[torch.Tensor, "b f"]) -> dict[str, float]:
        """Returns two measures that are 0 when all sites become alike: `embedding_std` and `prototype_information`.

        Args:
            network: the teacher's network, in evaluation mode.
            features: what its backbone says about held-out sites.
        """
        told = self.teacher_head(network.neck(features))
        return {
            EMBEDDING_STD: normalised_std(network.neck[0](features)),
            PROTOTYPE_INFORMATION: information(self.probabilities(told)),
        }

    def _follow_centre(self, told: Float[torch.Tensor, "v b k"]) -> None:
        memory = self.parameters_.centre_momentum
        self.centre = memory * self.centre + (1 - memory) * told.mean(dim=(0, 1))

    def _done_frac(self) -> float:
        return min(1.0, int(self.n_updates) / self.n_steps)


def distillation_loss(
    student: Float[torch.Tensor, "v b k"], teacher: Float[torch.Tensor, "large b k"]
) -> Float[torch.Tensor, ""]:
    """Returns the cross-entropy between the teacher's and the student's answers about different crops of a site.

    It is the mean over sites and over all pairs of two crops that are not the same one.

    Args:
        student: answers about all crops, the large ones first, divided by the temperature.
        teacher: probabilities for the large crops.

    Source: Caron et al. 2021, equation 3.
    """
    entropies = -torch.einsum("lbk,vbk->lvb", teacher, functional.log_softmax(student, dim=-1))
    n_large, n_views = entropies.shape[:2]
    is_other = ~torch.eye(n_large, n_views, dtype=torch.bool, device=student.device)
    return entropies[is_other].mean()


def teacher_momentum(done_frac: float, parameters: SelfDistillation) -> float:
    """Returns the share of the teacher that stays: from `teacher_momentum` to 1 along half a cosine.

    Source: Caron et al. 2021, section 3.1.
    """
    return 1 - (1 - parameters.teacher_momentum) * (1 + math.cos(math.pi * done_frac)) / 2


def teacher_temperature(done_frac: float, parameters: SelfDistillation) -> float:
    """Returns the teacher's temperature: it changes linearly in the warm-up, and then stays.

    Source: Caron et al. 2021, section 3.1.
    """
    first, last, warmup = (
        parameters.first_teacher_temperature,
        parameters.teacher_temperature,
        parameters.temperature_warmup_frac,
    )
    return last if done_frac >= warmup else first + (last - first) * done_frac / warmup


def normalised_std(vectors: Float[torch.Tensor, "b d"]) -> float:
    """Returns the standard deviation of vectors of length 1, times the root of their dimension.

    It is 1 for vectors that point everywhere, and 0 if all point the same way. It is taken before batch normalisation,
    which would hide a collapse.

    Source: Chen & He 2021, Exploring simple siamese representation learning, section 4.1.
    """
    unit = functional.normalize(vectors)
    return float(unit.std(dim=0, correction=0).mean()) * math.sqrt(vectors.shape[1])


def information(probabilities: Float[torch.Tensor, "b k"]) -> float:
    """Returns what the answers say about the site, in nats: the entropy of their mean minus their mean entropy.

    It is 0 if all answers are the same: one prototype for all sites, or all prototypes for each.
    """
    mean = probabilities.mean(dim=0)
    return float(torch.special.entr(mean).sum() - torch.special.entr(probabilities).sum(dim=1).mean())
