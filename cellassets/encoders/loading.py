"""What an encoder is, and how a model folder becomes one.

Model folders come from the registry; `embed.py` feeds sites to the encoder. A new kind of encoder is a class with the
members of `Encoder`, an entry in `kinds.py` and a branch in `load_encoder`. A container encoder has `embed_sites` in
place of `embed`: its process reads the sites from files. Profiles have `vectors_of`: they are looked up.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Integer, UInt
from pydantic import ValidationError

from cellassets.encoders.container.declaration import RUNNING_TAG, Running
from cellassets.encoders.container.encoder import ContainerEncoder
from cellassets.encoders.kinds import ENCODER_KINDS
from cellassets.encoders.profiles import ProfilesEncoder
from cellassets.errors import EncoderError, RegistryError
from cellassets.images.reader import ExperimentStore
from cellassets.training.recipe import NormalisationKind
from cellassets.training.spec import SPEC_NAME

if TYPE_CHECKING:
    from cellassets.encoders.container.encoder import ContainerRunner

ELSEWHERE = ("exported", "huggingface", "onnx")
Rows = Integer[np.ndarray, "block"]
Images = UInt[np.ndarray, "block channel y x"]
Vectors = Float32[np.ndarray, "block feature"]
Moments = tuple[Float32[np.ndarray, "all channel"], Float32[np.ndarray, "all channel"]]
NO_TAGS: Mapping[str, str] = MappingProxyType({})


@runtime_checkable
class Encoder(Protocol):
    """Turns sites into vectors.

    Attributes:
        n_channels: number of channels of the sites it was made for.
        pixel_types: types of pixels that it takes, as numpy names them.
        normalisation: over what the mean and standard deviation that `embed` takes are computed.
        batch_size: number of sites that `embed` takes best at once.
        precision: precision of its arithmetic, for example `fp32`.
        device: where it computes, for example `cpu`.
    """

    n_channels: int
    pixel_types: tuple[str, ...]
    normalisation: NormalisationKind
    batch_size: int
    precision: str
    device: str

    def embed(
        self,
        images: UInt[np.ndarray, "site channel y x"],
        mean: Float32[np.ndarray, "site channel"],
        std: Float32[np.ndarray, "site channel"],
    ) -> Float32[np.ndarray, "site feature"]:
        """Returns one vector per site.

        Args:
            images: grey levels, of one of the `pixel_types`.
            mean: mean of each channel, in grey levels.
            std: standard deviation of each channel, in grey levels, at least `training.normalisation.min_std`.
        """

    def close(self) -> None:
        """Releases processes and memory that the encoder holds."""


@runtime_checkable
class SetUpPerExperiment(Protocol):
    """An encoder that has to know an experiment before it embeds its sites."""

    def set_up(self, store: ExperimentStore) -> None:
        """Prepares the encoder for the sites of an experiment."""


@runtime_checkable
class ChoosesChannels(Protocol):
    """An encoder that finds its channels among those of an experiment, by their names."""

    def choose_channels(self, names: tuple[str, ...]) -> None:
        """Finds the encoder's channels among these names.

        Raises:
            EncoderError: a channel is missing, or their number differs.
        """


@runtime_checkable
class TrainedOnChannels(Protocol):
    """An encoder that knows the names of the channels that it was trained on, and does not choose by them.

    Attributes:
        trained_channels: names of the channels, in order.
    """

    trained_channels: tuple[str, ...]


@runtime_checkable
class NeedsSize(Protocol):
    """An encoder that cannot embed sites of every size."""

    def check_size(self, height: int, width: int) -> None:
        """Checks that sites of this size can be embedded.

        Raises:
            EncoderError: they are too small.
        """


@runtime_checkable
class EmbedsBlocks(Protocol):
    """An encoder that takes one block of sites after another, so that its device never waits.

    Attributes:
        n_read_threads: threads that decode images for it.
    """

    n_read_threads: int

    def empty_images(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Returns memory to decode images into, from which they reach the device fastest."""

    def embed_blocks(self, blocks: Iterable[tuple[Rows, Images]], moments: Moments) -> Iterator[tuple[Rows, Vectors]]:
        """Yields the rows of each block and their vectors.

        Args:
            blocks: rows of sites and their grey levels.
            moments: mean and standard deviation of each channel, of all sites.
        """


AnyEncoder = Encoder | ContainerEncoder | ProfilesEncoder


def load_encoder(
    folder: Path, *, tags: Mapping[str, str] = NO_TAGS, containers: "ContainerRunner | None" = None
) -> AnyEncoder:
    """Returns the encoder in a model folder.

    Args:
        folder: a model folder with `encoder.json`.
        tags: tags of the model version; they say what a container encoder needs to run.
        containers: starts the processes of container encoders.

    Raises:
        EncoderError: the kind of the encoder is not known here, or nothing here starts processes of that kind.
        RegistryError: one of its files or tags is missing or damaged.
    """
    try:
        described = json.loads((folder / SPEC_NAME).read_bytes())
        kind, version = described.get("kind"), described.get("format_version")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        message = f"{folder / SPEC_NAME}: missing, or not the description of an encoder ({error})"
        raise RegistryError(message) from error
    kind = kind if isinstance(kind, str) else repr(kind)
    if kind in ELSEWHERE or (kind == "network" and version == 2):
        from cellassets.encoders.elsewhere.encoder import ElsewhereEncoder

        return ElsewhereEncoder.load(folder)
    if kind == "network":
        from cellassets.encoders.network import open_network

        return open_network(folder)
    if kind == "classical":
        from cellassets.encoders.classical import ClassicalEncoder

        return ClassicalEncoder.load(folder)
    if kind == "container":
        return ContainerEncoder(folder, containers, _running(tags))
    if kind == "profiles":
        return ProfilesEncoder(folder)
    known = " and ".join(repr(name) for name in ENCODER_KINDS)
    message = f"{folder / SPEC_NAME}: kind {kind!r}; known are {known}"
    raise EncoderError(message)


def _running(tags: Mapping[str, str]) -> Running:
    try:
        return Running.model_validate_json(tags.get(RUNNING_TAG, "{}"))
    except ValidationError as error:
        message = (
            f"tag {RUNNING_TAG!r} of the model version: {error}; register its declaration again, or correct the tag "
            "in MLflow"
        )
        raise RegistryError(message) from error
