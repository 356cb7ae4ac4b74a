"""Batch normalisation over the whole batch, although each process has a share of it.

Every network here ends with a batch normalisation, and means over shares would make a recipe depend on the number of
devices. On GPUs torch has `SyncBatchNorm`, which refuses tensors on the CPU; `SharedBatchNorm` is the one for the CPU.
"""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cellassets.training.sharing import summed_over_all


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation with the mean and the variance of the sites of all processes."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002  as torch names it
        """Returns the normalised values [b, c, ...]."""
        if not self.training or self.running_mean is None or self.running_var is None:
            return super().forward(input)
        values, shape = input.float(), (1, -1, *[1] * (input.ndim - 2))
        axes = [axis for axis in range(input.ndim) if axis != 1]
        n = summed_over_all(values.new_tensor([values.numel() / values.shape[1]]))
        mean = summed_over_all(values.sum(axes)) / n
        centred = values - mean.view(shape)
        variance = summed_over_all(centred.square().sum(axes)) / n
        self._follow(mean.detach(), variance.detach(), float(n))
        normalised = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised.to(input.dtype)

    def _check_input_dim(self, input: torch.Tensor) -> None:  # noqa: A002
        """Takes any number of dimensions: this replaces layers of one, two and three."""

    @torch.no_grad()
    def _follow(self, mean: torch.Tensor, variance: torch.Tensor, n: float) -> None:
        """Moves the running statistics, as `nn.BatchNorm2d` does: the running variance is the unbiased one."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        weight = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance * (n / max(n - 1, 1)), weight)


def share_statistics(module: nn.Module, device_type: str) -> None:
    """Replaces the batch normalisation inside a module. The names of its weights stay.

    Args:
        module: is changed in place.
        device_type: `cuda` or `cpu`, where the module will be.
    """
    for name, child in list(module.named_children()):
        if not isinstance(child, _BatchNorm):
            share_statistics(child, device_type)
        elif device_type == "cuda":
            module.add_module(name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
        else:
            module.add_module(name, _shared(child))


def _shared(layer: _BatchNorm) -> SharedBatchNorm:
    made = SharedBatchNorm(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
    made.weight, made.bias = layer.weight, layer.bias
    made.running_mean, made.running_var = layer.running_mean, layer.running_var
    made.num_batches_tracked = layer.num_batches_tracked
    return made.train(layer.training)
