"""Torch itself: in float32, by autocast in bfloat16 or float16, and compiled by `torch.compile`."""

import os
import shutil
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import nn

from cellassets.encoders.inference.backend import REFERENCE, Backend, Forward, Precision, in_batches_of

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
MIN_TABLE_S = 30.0  # for a table of seconds nothing is worth a measurement
MIN_TABLE_TO_COMPILE_S = 600.0  # `torch.compile` takes 15 to 60 s
Images = Float[torch.Tensor, "site channel h w"]


def torch_backend(device: str, precision: Precision) -> Backend:
    """Returns the network as it is, in a precision."""

    def prepare(network: nn.Module, example: Images) -> Forward:  # noqa: ARG001
        return _by_torch(network, device, precision)

    def absence() -> str | None:
        return units_absence(device, precision)

    return Backend(name_of(device, precision), precision, prepare, MIN_TABLE_S, absence)


def compiled_backend(device: str, precision: Precision) -> Backend:
    """Returns the network compiled by `torch.compile`, in a precision."""

    def prepare(network: nn.Module, example: Images) -> Forward:
        compiled = torch.compile(network, dynamic=False)
        return in_batches_of(len(example), _by_torch(compiled, device, precision))

    def absence() -> str | None:
        return units_absence(device, precision) or compiler_absence()

    return Backend(f"compiled-{name_of(device, precision)}", precision, prepare, MIN_TABLE_TO_COMPILE_S, absence)


def name_of(device: str, precision: str) -> str:
    """Returns the name of plain torch in a precision. Float32 on a GPU and on a CPU count as the same."""
    return REFERENCE if precision == "fp32" else f"{'torch' if device == 'cpu' else device}-{precision}"


def units_absence(device: str, precision: str) -> str | None:
    """Returns why a device would only emulate a precision: it has no units for it. None for float32.

    A GPU has units for bf16 from Ampere on, and for fp16 from Volta on; a CPU for bf16 with AMX or AVX-512 BF16.
    """
    if precision == "fp32":
        return None
    if device == "cuda":
        has_units = torch.cuda.get_device_capability()[0] >= (8 if precision == "bf16" else 7)
    else:  # torch has no public names for these
        has_units = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001
    return None if has_units else f"this {'GPU' if device == 'cuda' else 'CPU'} has no units for {precision}"


def compiler_absence(which: Callable[[str], str | None] = shutil.which) -> str | None:
    """Returns why `torch.compile` cannot work here: it needs a C++ compiler."""
    compiler = os.environ.get("CXX", "g++")
    return None if which(compiler) else f"there is no compiler {compiler}"


def _by_torch(network: Callable[[Images], torch.Tensor], device: str, precision: Precision) -> Forward:
    dtype = AUTOCAST.get(precision)

    def forward(images: Images) -> Float[torch.Tensor, "site feature"]:
        with torch.inference_mode(), torch.autocast(device, dtype, enabled=dtype is not None):
            return network(images).float()

    return forward
