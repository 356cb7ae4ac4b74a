"""How long a training will take, from one timed step, before it begins.

Batches and module are those of the training; the step works on a copy of the module, so the training is not changed.
"""

import copy
import time
from collections.abc import Callable

import torch
from lightning_fabric.utilities import move_data_to_device

from cellassets.training.backbone import seeded
from cellassets.training.batches import Batch, TrainBatches, ValidationBatches, normalised
from cellassets.training.module import PerturbationClassifier
from cellassets.training.recipe import NetworkRecipe

MIN_BATCHES = 50  # shorter trainings are over soon


def estimated_seconds(
    module: PerturbationClassifier,
    train: TrainBatches,
    validation: ValidationBatches | tuple[TrainBatches | ValidationBatches, ...],
) -> float:
    """Returns how long all epochs will take on this machine, in seconds, if no batch has to be waited for.

    The mixing of images, the optimiser and a moving average of the weights are left out: they take little time.

    Args:
        module: network and heads; they are copied.
        train: the batches of one epoch.
        validation: the held-out batches, or all batches of a validation with those that are judged at the end.
    """
    recipe, parts = module.recipe, validation if isinstance(validation, tuple) else (validation,)
    has_gpu = torch.cuda.is_available() and recipe.devices.accelerator != "cpu"
    device = torch.device("cuda" if has_gpu else "cpu")
    network, heads = copy.deepcopy(module.network).to(device), copy.deepcopy(module.heads).to(device)
    batch, held_out = _on(device, next(iter(train))), _on(device, next(iter(parts[-1])))

    def step() -> None:
        with _autocast(recipe, device):
            loss = heads.batch_loss(network, batch)
        loss.backward()

    def judge() -> None:
        with torch.inference_mode(), _autocast(recipe, device):
            network(normalised(held_out))

    with seeded(recipe.seed):
        step_s = _second_s(step, device)
        network.eval()
        judge_s = _second_s(judge, device)
    n_validations = recipe.n_epochs // recipe.validate_every_n_epochs
    return recipe.n_epochs * len(train) * step_s + n_validations * sum(map(len, parts)) * judge_s


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
    own = batch._replace(
        **{
            name: getattr(batch, name)[: batch.n_sites]
            for name in ("images", "scale", "shift", "labels", "store_index")
        },
        partner=None,
        own_share=None,
    )
    moved: Batch = move_data_to_device(own, device)
    return moved
