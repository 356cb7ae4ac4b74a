"""Modules of torch that compute vectors: a backbone of cellassets with weights in safetensors, and shared parts."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from cellassets.encoders.elsewhere.declaration import ElsewhereSpec
from cellassets.encoders.elsewhere.forward import best_device
from cellassets.errors import EncoderError, RegistryError
from cellassets.training.backbone import build_network

if TYPE_CHECKING:
    from cellassets.encoders.elsewhere.forward import Fixed


class ModuleForward:
    """A module in evaluation mode, on a GPU if there is one."""

    def __init__(
        self, module: nn.Module, shape: "Fixed", call: Callable[[nn.Module, torch.Tensor], torch.Tensor] | None = None
    ) -> None:
        self.device = best_device()
        self.module = module.eval().to(self.device)
        self.shape = shape
        self.call = call or (lambda own, images: own(images))

    def __call__(self, images: Float[torch.Tensor, "site channel h w"]) -> torch.Tensor:
        """Returns the output of images.

        Raises:
            EncoderError: the module cannot compute it.
        """
        try:
            with torch.inference_mode():
                return self.call(self.module, images.to(self.device))
        except torch.OutOfMemoryError:  # says nothing about the network
            raise
        except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
            message = f"the network cannot compute images of shape {tuple(images.shape)}: {str(error)[:300]}"
            raise EncoderError(message) from error


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Returns the tensors of a file. A pickle with the name of a safetensors file is refused and never opened.

    Raises:
        RegistryError: the file is missing or is not safetensors.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        message = f"{path}: missing, or not a file of safetensors ({error}); weights in pickles are never opened"
        raise RegistryError(message) from error


def backbone_forward(path: Path, spec: ElsewhereSpec) -> ModuleForward:
    """Returns a backbone of cellassets with the weights in a file.

    Raises:
        RegistryError: the file is missing or damaged, or `encoder.json` lacks the architecture.
        EncoderError: the weights do not fit the architecture.
    """
    if spec.backbone is None or spec.trained_px is None:
        message = f"{path}: encoder.json has no backbone and trained_px for these weights; register the model again"
        raise RegistryError(message)
    network = build_network(
        spec.backbone,
        n_channels=spec.input.n_used,
        embedding_dim=spec.embedding_dim,
        trained_px=spec.trained_px,
        seed=0,
    )
    try:
        network.load_state_dict(read_safetensors(path))
    except RuntimeError as error:
        message = f"{path}: the weights do not fit the declared {spec.backbone.family}: {str(error)[:600]}"
        raise EncoderError(message) from error
    return ModuleForward(network, (None, spec.input.n_used, None, None))
