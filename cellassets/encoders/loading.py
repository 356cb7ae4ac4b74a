"""Encoders: a model folder becomes something that turns sites into vectors.

Comes from the registry's model folders; `run.py` feeds it. A new kind of encoder is a class with these members and a
line in `load_encoder`.
"""

import json
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from cellassets.errors import EncoderError, RegistryError
from cellassets.training.recipe import NormalisationKind
from cellassets.training.spec import SPEC_NAME


@runtime_checkable
class Encoder(Protocol):
    """What embeds sites.

    Attributes:
        n_channels: channels that it was made for.
        normalisation: whose mean and standard deviation its `embed` wants.
        batch_size: sites that it likes to get at once.
        precision: of its arithmetic, as people call it.
        device: where it computes.
    """

    n_channels: int
    normalisation: NormalisationKind
    batch_size: int
    precision: str
    device: str

    def embed(
        self,
        images: UInt8[np.ndarray, "site channel y x"],
        mean: Float32[np.ndarray, "site channel"],
        std: Float32[np.ndarray, "site channel"],
    ) -> Float32[np.ndarray, "site feature"]:
        """Returns a vector a site; mean and standard deviation are in grey levels."""

    def close(self) -> None:
        """Gives back what it holds."""


def load_encoder(folder: Path) -> Encoder:
    """Returns the encoder in a model folder.

    Raises:
        EncoderError: its kind is not one of those that are known here.
        RegistryError: a file of it is missing or damaged.
    """
    try:
        kind = json.loads((folder / SPEC_NAME).read_bytes()).get("kind")
    except (FileNotFoundError, ValueError, AttributeError) as error:
        message = f"{folder / SPEC_NAME}: not there or not the description of an encoder ({error})"
        raise RegistryError(message) from error
    if kind == "network":
        from cellassets.encoders.network import NetworkEncoder

        return NetworkEncoder(folder)
    if kind == "classical":
        from cellassets.encoders.classical import ClassicalEncoder

        return ClassicalEncoder.load(folder)
    message = f"{folder / SPEC_NAME}: kind {kind!r}; known are 'network' and 'classical'"
    raise EncoderError(message)
