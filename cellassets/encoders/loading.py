"""What an encoder is, and how a model folder becomes one.

Model folders come from the registry; `run.py` feeds sites to the encoder. A new kind of encoder is a class with the
members of `Encoder`, an entry in `kinds.py` and a branch in `load_encoder`.
"""

import json
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from cellassets.encoders.kinds import ENCODER_KINDS
from cellassets.errors import EncoderError, RegistryError
from cellassets.training.recipe import NormalisationKind
from cellassets.training.spec import SPEC_NAME


@runtime_checkable
class Encoder(Protocol):
    """Turns sites into vectors.

    Attributes:
        n_channels: number of channels of the sites it was made for.
        normalisation: over what the mean and standard deviation that `embed` takes are computed.
        batch_size: number of sites that `embed` takes best at once.
        precision: precision of its arithmetic, for example `fp32`.
        device: where it computes, for example `cpu`.
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
        """Returns one vector per site.

        Args:
            images: grey levels, 0 to 255.
            mean: mean of each channel, in grey levels.
            std: standard deviation of each channel, in grey levels.
        """

    def close(self) -> None:
        """Releases processes and memory that the encoder holds."""


def load_encoder(folder: Path) -> Encoder:
    """Returns the encoder in a model folder.

    Args:
        folder: a model folder with `encoder.json`.

    Raises:
        EncoderError: the kind of the encoder is not known here.
        RegistryError: one of its files is missing or damaged.
    """
    try:
        kind = json.loads((folder / SPEC_NAME).read_bytes()).get("kind")
    except (FileNotFoundError, ValueError, AttributeError) as error:
        message = f"{folder / SPEC_NAME}: missing, or not the description of an encoder ({error})"
        raise RegistryError(message) from error
    if kind == "network":
        from cellassets.encoders.network import NetworkEncoder

        return NetworkEncoder(folder)
    if kind == "classical":
        from cellassets.encoders.classical import ClassicalEncoder

        return ClassicalEncoder.load(folder)
    known = " and ".join(repr(name) for name in ENCODER_KINDS)
    message = f"{folder / SPEC_NAME}: kind {kind!r}; known are {known}"
    raise EncoderError(message)
