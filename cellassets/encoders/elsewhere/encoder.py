"""A model from elsewhere as an encoder: it prepares the images, computes, and pools."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt
from pydantic import ValidationError

from cellassets.configuration import in_words
from cellassets.encoders.elsewhere.declaration import ElsewhereSpec
from cellassets.encoders.elsewhere.forward import Forward, pooled
from cellassets.encoders.elsewhere.opening import forward_of
from cellassets.encoders.elsewhere.preprocessing import prepared
from cellassets.errors import EncoderError, RegistryError
from cellassets.images.reader import ExperimentStore
from cellassets.training.recipe import NormalisationKind
from cellassets.training.spec import SPEC_NAME

BATCH_SIZE = {"cpu": 16, "cuda": 256}


class ElsewhereEncoder:
    """Turns sites into vectors with a model that was trained elsewhere, always in fp32.

    Attributes:
        n_channels: number of channels that the model gets.
        pixel_types: types of pixels that it takes.
        normalisation: over what the mean and standard deviation are computed; without effect for `fixed`.
        batch_size: number of sites at once.
        precision: precision of its arithmetic.
        device: where it computes.
    """

    precision = "fp32"

    def __init__(self, spec: ElsewhereSpec, forward: Forward) -> None:
        self.spec, self.forward, self.device = spec, forward, forward.device
        self.n_channels = spec.input.n_used
        self.pixel_types: tuple[str, ...] = spec.input.types
        self.normalisation: NormalisationKind = "plate" if spec.input.normalisation == "plate" else "site"
        self.batch_size = forward.shape[0] or BATCH_SIZE[self.device]
        self.positions = list(range(self.n_channels))

    @classmethod
    def load(cls, folder: Path) -> "ElsewhereEncoder":
        """Returns the encoder in a model folder.

        Raises:
            EncoderError: a package that it needs is missing, or its file cannot be used.
            RegistryError: a file is missing or damaged.
        """
        spec = read_spec(folder)
        return cls(spec, forward_of(folder, spec))

    def set_up(self, store: ExperimentStore) -> None:
        """Finds the model's channels among those of the experiment whose sites come next.

        Raises:
            EncoderError: a channel is missing.
        """
        self.choose_channels(store.channel_names)

    def choose_channels(self, names: tuple[str, ...]) -> None:
        """Finds the model's channels among these.

        Raises:
            EncoderError: a channel is missing or ambiguous, or their number differs.
        """
        self.positions = self.spec.input.positions(names)

    def check_size(self, height: int, width: int) -> None:
        """Checks that sites of this size can be embedded.

        Raises:
            EncoderError: they do not fit.
        """
        self.spec.input.check_size(height, width)
        wanted = self.forward.shape[2:]
        if self.spec.input.size == "as_is" and any(
            side not in (None, found) for side, found in zip(wanted, (height, width), strict=True)
        ):
            message = (
                f"the file of the model fixes the size {wanted[0]} x {wanted[1]}, the sites have {height} x {width}; "
                "declare centre_crop or resize, or export the model with dynamic height and width"
            )
            raise EncoderError(message)

    def embed(
        self,
        images: UInt[np.ndarray, "site channel y x"],
        mean: Float32[np.ndarray, "site channel"],
        std: Float32[np.ndarray, "site channel"],
    ) -> Float32[np.ndarray, "site feature"]:
        """Returns one vector per site.

        Args:
            images: grey levels, with the channels that `set_up` saw, or else those of the model in its order.
            mean: mean of each channel, in grey levels.
            std: standard deviation of each channel, in grey levels, at least `min_std` of the images.

        Raises:
            EncoderError: the vectors have another length than at registration.
        """
        found = self.vectors(prepared(images, mean, std, self.spec.input, self.positions))
        if found.shape != (len(images), self.spec.embedding_dim):
            message = f"it gave vectors of shape {found.shape}; expected {(len(images), self.spec.embedding_dim)}"
            raise EncoderError(message)
        return found

    def vectors(self, images: torch.Tensor) -> Float32[np.ndarray, "site feature"]:
        """Returns the vectors of images that are prepared already."""
        return pooled(self.forward(images), self.spec.output).numpy()

    def close(self) -> None:
        """Does nothing: the memory is freed with the encoder."""


def read_spec(folder: Path) -> ElsewhereSpec:
    """Returns what `encoder.json` says.

    Raises:
        RegistryError: the file does not describe a model from elsewhere that this version can read.
    """
    path = folder / SPEC_NAME
    try:
        return ElsewhereSpec.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        words = in_words(error, ElsewhereSpec) if isinstance(error, ValidationError) else error
        message = f"{path}: not the {SPEC_NAME} of a model from elsewhere that this version can read: {words}"
        raise RegistryError(message) from error
