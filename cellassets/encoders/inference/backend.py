"""What a backend is: a way to compute a network, prepared for images of one shape.

The backends themselves are in `torch_backends.py`, `openvino_backend.py` and `onnx_backend.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import nn

REFERENCE = "torch-fp32"
# what optional packages, exporters and compilers raise for a network that they cannot take
FAILURES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, ImportError, OSError, AssertionError)

Precision = Literal["fp32", "bf16", "fp16"]
Forward = Callable[[Float[torch.Tensor, "site channel h w"]], Float[torch.Tensor, "site feature"]]
Prepare = Callable[[nn.Module, Float[torch.Tensor, "site channel h w"]], Forward]


def _is_there() -> str | None:
    return None


@dataclass(frozen=True)
class Backend:
    """One way to compute a network.

    Attributes:
        name: for example `openvino-fp32`.
        precision: number format of its arithmetic.
        prepare: returns the function that computes the network for batches as large as the example, or smaller.
        min_table_s: seconds that the reference needs for a table, from which on the preparation pays.
        absence: returns why it cannot be used here, or None.
        is_channels_last: whether it takes images fastest whose channels come last in memory.
    """

    name: str
    precision: Precision
    prepare: Prepare
    min_table_s: float
    absence: Callable[[], str | None] = _is_there
    is_channels_last: bool = True


def in_batches_of(n_sites: int, forward: Forward) -> Forward:
    """Returns `forward` for at most `n_sites` images: smaller batches are filled up, and what is added is cut off.

    Programs that are compiled for one size of batch would be compiled again for every other one.
    """

    def padded(images: Float[torch.Tensor, "site channel h w"]) -> Float[torch.Tensor, "site feature"]:
        n_missing = n_sites - len(images)
        if not n_missing:
            return forward(images)
        filled = torch.cat([images, images[-1:].expand(n_missing, -1, -1, -1)])
        return forward(filled)[: len(images)]

    return padded


def short(error: BaseException, *, n_characters: int = 200) -> str:
    """Returns the type and the first words of an error in one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= n_characters else f"{text[:n_characters]}…"
