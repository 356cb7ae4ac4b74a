"""Convolutions whose stride is their kernel, such as the patch embedding of a transformer, kept in float32."""

import torch
from jaxtyping import Float
from torch import nn


class FullPrecisionConv2d(nn.Conv2d):
    """A convolution that autocast leaves in float32.

    On some CPUs torch 2.13 computes bfloat16 convolutions with stride = kernel wrongly and without a warning (relative
    errors above 1 for six channels and patches of 16 pixels). Float32 in this one layer costs little time.
    """

    def forward(self, input: Float[torch.Tensor, "b c y x"]) -> Float[torch.Tensor, "b f h w"]:  # noqa: A002
        """Returns the convolution, computed in float32."""
        with torch.autocast(device_type=input.device.type, enabled=False):
            return super().forward(input.float())


def keep_patch_convolutions_exact(model: nn.Module) -> nn.Module:
    """Returns `model` after replacing each convolution with stride = kernel by one that stays in float32."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Conv2d and child.kernel_size == child.stride and child.kernel_size != (1, 1):
                setattr(module, name, _exact(child))
    return model


def _exact(convolution: nn.Conv2d) -> FullPrecisionConv2d:
    exact = FullPrecisionConv2d(
        convolution.in_channels,
        convolution.out_channels,
        (convolution.kernel_size[0], convolution.kernel_size[1]),
        stride=(convolution.stride[0], convolution.stride[1]),
        padding=convolution.padding,  # type: ignore[arg-type]  # a tuple of two numbers, or a word
        groups=convolution.groups,
        bias=convolution.bias is not None,
    )
    exact.load_state_dict(convolution.state_dict())
    return exact
