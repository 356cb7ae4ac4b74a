"""How Lightning trains on the devices of a recipe: one process, DDP, or FSDP.

`fit.py` asks for the arguments of the trainer. The processes exist already (`processes/`); each of them calls `fit`.
"""

from datetime import timedelta
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.optim import Optimizer

from cellassets.training.batch_norm import share_statistics
from cellassets.training.recipe import Devices

TIMEOUT = timedelta(minutes=15)  # longer than the first process needs to store a state
MIN_SHARDED_WEIGHTS = 100_000  # smaller blocks are sharded with the block around them
FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)
# the optimiser has no state for weights without a gradient, such as those of a head without a weight in the loss
FULL_OF_TRAINED = StateDictOptions(full_state_dict=True, cpu_offload=True, strict=False)


def device_type(devices: Devices) -> str:
    """Returns where several processes train: `cuda`, or `cpu` if the machine has no GPU or the recipe says so."""
    return "cuda" if devices.accelerator == "auto" and torch.cuda.is_available() else "cpu"


def trainer_devices(devices: Devices) -> dict[str, Any]:
    """Returns the arguments of Lightning's trainer that say where it trains."""
    if devices.n_processes == 1:
        return {"accelerator": devices.accelerator, "devices": 1}
    return {
        "accelerator": device_type(devices),
        "devices": devices.n_per_node,
        "num_nodes": devices.n_nodes,
        "strategy": _strategy(devices),
        "use_distributed_sampler": False,
    }


def prepare_for_sharing(module: lightning.LightningModule, devices: Devices) -> None:
    """Lets the batch normalisation of a module see the whole batch, if several processes share it."""
    if devices.n_processes > 1:
        share_statistics(module, device_type(devices))


def _strategy(devices: Devices) -> DDPStrategy | ModelParallelStrategy:
    if devices.strategy == "fsdp":
        return Sharded(
            data_parallel_size=devices.n_processes,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            timeout=TIMEOUT,
        )
    # Buffers are the same in all processes: statistics and centres are computed from the whole batch. A head without a
    # weight in the loss gets no gradient.
    return DDPStrategy(broadcast_buffers=False, find_unused_parameters=True, timeout=TIMEOUT)


class Sharded(ModelParallelStrategy):
    """FSDP: each device holds a share of the weights, of their gradients and of the optimiser's state.

    Its state is that of the whole network, with the names that one process has. It is gathered on the first process,
    and it goes where Lightning's `CheckpointIO` stores it, not into a file that is unpickled later.
    """

    def setup(self, trainer: "lightning.Trainer") -> None:
        """Shards the module, and sets up its optimiser."""
        assert self.model is not None  # noqa: S101  of Lightning
        assert self.accelerator is not None  # noqa: S101
        self.accelerator.setup(trainer)
        self.model_to_device()
        shard(self.model, self.device_mesh["data_parallel"])
        self.barrier()
        self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    def optimizer_state(self, optimizer: Optimizer | LightningOptimizer) -> dict[str, Any]:
        """Returns the state of the optimiser for the whole network, by the names of the weights."""
        assert self.model is not None  # noqa: S101
        plain = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        return get_optimizer_state_dict(self.model, plain, options=FULL)

    def load_checkpoint(self, checkpoint_path: object, weights_only: bool | None = None) -> dict[str, Any]:
        """Returns the stored state, after loading weights and optimiser from it."""
        assert self.model is not None  # noqa: S101
        state: dict[str, Any] = self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)  # type: ignore[arg-type]
        set_model_state_dict(self.model, state["state_dict"], options=FULL)
        for optimiser, stored in zip(self.optimizers, state["optimizer_states"], strict=True):
            set_optimizer_state_dict(self.model, optimiser, stored, options=FULL_OF_TRAINED)
        return state


def shard(module: Any, mesh: DeviceMesh) -> None:
    """Shards the network and the heads of a module over the devices, block by block, and their moving average too.

    Args:
        module: a `PerturbationClassifier`, changed in place.
        mesh: the devices.
    """
    for owner in (module, module.average):
        if owner is None:
            continue
        owner.network.to(memory_format=torch.contiguous_format)  # FSDP takes no other layout
        for block in _blocks(owner.network):
            fully_shard(block, mesh=mesh)
        fully_shard(owner.network, mesh=mesh)
        fully_shard(owner.heads, mesh=mesh)
        for name in ("loss", "scores"):  # they are called in place of `forward`
            register_fsdp_forward_method(owner.heads, name)


def _blocks(network: nn.Module) -> list[nn.Module]:
    """The repeated parts of a network that are large enough, inner ones first."""
    lists = [part for part in network.modules() if isinstance(part, nn.ModuleList)]
    blocks = [block for part in reversed(lists) for block in part]
    return [block for block in blocks if sum(p.numel() for p in block.parameters()) >= MIN_SHARDED_WEIGHTS]
