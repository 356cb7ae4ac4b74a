"""What computes the vectors of a model from elsewhere: the face that the classes of all kinds have, and pooling.

`onnx_graph.py`, `exported_program.py` and `torch_modules.py` have the classes. `opening.py` chooses one.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float

from cellassets.encoders.elsewhere.declaration import Output
from cellassets.errors import EncoderError

WEIGHTS, PROGRAM, GRAPH, CONFIG, HF_WEIGHTS = (
    *("weights.safetensors", "program.pt2", "model.onnx"),
    *("config.json", "model.safetensors"),
)
Fixed = tuple[int | None, int | None, int | None, int | None]  # site, channel, y, x; None: any


@runtime_checkable
class Forward(Protocol):
    """Computes one output of a model.

    Attributes:
        device: where it computes.
        shape: the shape of images that the file fixes; None where any number is taken.
    """

    device: str
    shape: Fixed

    def __call__(self, images: Float[torch.Tensor, "site channel h w"]) -> torch.Tensor:
        """Returns the output of float32 images on the CPU: [b, f], [b, token, f] or [b, f, y, x]."""


def best_device() -> str:
    """Returns `cuda` if there is a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def pooled(found: torch.Tensor, output: Output) -> Float[torch.Tensor, "site feature"]:
    """Returns one float32 vector per site.

    Raises:
        EncoderError: the output has another number of axes than `pool` needs.
    """
    shape, found = tuple(found.shape), found.detach().float().cpu()
    if output.pool == "none" and found.ndim == 2:
        return found
    if output.pool == "mean" and found.ndim == 3:
        return found[:, output.skip_tokens :].mean(dim=1)
    if output.pool == "mean" and found.ndim == 4 and not output.skip_tokens:
        return found.mean(dim=(2, 3))
    if output.pool == "first" and found.ndim == 3:
        return found[:, 0]
    message = (
        f"its output has the shape {shape}, and `pool` is {output.pool}; expected none for [site, feature], mean or "
        "first for [site, token, feature], mean for [site, feature, y, x]"
    )
    raise EncoderError(message)
