"""How long a training will take, from one timed step, before it begins.

Batches and module are those of the training; the step works on a copy of the module, so the training is not changed.
"""

import copy
import time
from collections.abc import Callable

import torch

from cellassets.training.backbone import seeded
from cellassets.training.batches import Batch, TrainBatches, ValidationBatches
from cellassets.training.module import PerturbationClassifier, normalised
from cellassets.training.recipe import NetworkRecipe

MIN_BATCHES = 50  # shorter trainings are over soon


def estimated_seconds(module: PerturbationClassifier, train: TrainBatches, validation: ValidationBatches) -> float:
    """Returns how long all epochs will take on this machine, in seconds, if no batch has to be waited for.

    The mixing of images, the optimiser and a moving average of the weights are left out: they take little time.

    Args:
        module: network and heads; they are copied.
        train: the batches of one epoch.
        validation: the held-out batches.
    """
    recipe = module.recipe
    has_gpu = torch.cuda.is_available() and recipe.devices.accelerator != "cpu"
    device = torch.device("cuda" if has_gpu else "cpu")
    network, heads = (copy.deepcopy(part).to(device) for part in (module.network, module.heads))
    batch, held_out = _on(device, next(iter(train))), _on(device, next(iter(validation)))

    def step() -> None:
        with _autocast(recipe, device):
            loss = heads.loss(network(normalised(batch)), batch.labels)
        loss.backward()

    def judge() -> None:
        with torch.inference_mode(), _autocast(recipe, device):
            network(normalised(held_out))

    with seeded(recipe.seed):
        step_s = _second_s(step, device)
        network.eval()
        judge_s = _second_s(judge, device)
    n_validations = recipe.n_epochs // recipe.validate_every_n_epochs
    return recipe.n_epochs * len(train) * step_s + n_validations * len(validation) * judge_s


def _second_s(work: Callable[[], None], device: torch.device) -> float:
    """The time of the second of two calls: the first one also allocates."""
    work()
    started_s = time.monotonic()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.monotonic() - started_s


def _autocast(recipe: NetworkRecipe, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16-mixed")


def _on(device: torch.device, batch: Batch) -> Batch:
    """A batch on a device, without what mixes its images."""
    images, scale, shift, labels, store_index, *_ = batch
    return Batch(*(tensor[: batch.n_sites].to(device) for tensor in (images, scale, shift, labels, store_index)))
