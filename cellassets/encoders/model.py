"""A model for scripts and notebooks: arrays of images in, vectors out, as the platform computes them.

`cellassets.load_model` is the public name. No store, registry or lake is needed, only a model folder.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped, UInt

from cellassets.encoders.adaptation import AdaptsToSites
from cellassets.encoders.loading import (
    ChoosesChannels,
    Encoder,
    NeedsSize,
    SetUpPerExperiment,
    TrainedOnChannels,
    load_encoder,
)
from cellassets.encoders.precision import ChoosesBackend
from cellassets.errors import EncoderError
from cellassets.images.writer import channel_statistics
from cellassets.training.normalisation import min_std, pooled_moments

AXES = "[site, channel, y, x]"
Moments = tuple[Float32[np.ndarray, "site channel"], Float32[np.ndarray, "site channel"]]


class Model:
    """A model that embeds arrays of images.

    Attributes:
        encoder: what the platform embeds with, too.
        n_channels: number of channels that it takes.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.n_channels = encoder.n_channels

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, precision: str = "fp32") -> "Model":
        """Returns the model in a folder.

        Args:
            folder: the model folder.
            precision: `fp32`, `bf16`, or the name of a backend as the metadata of embeddings have it (`openvino-fp32`).

        Raises:
            EncoderError: the model cannot be used without the platform, or not in this precision.
            RegistryError: a file is missing or damaged.
        """
        encoder = load_encoder(Path(folder))
        if not isinstance(encoder, Encoder) or (
            isinstance(encoder, SetUpPerExperiment) and not isinstance(encoder, ChoosesChannels)
        ):
            message = (
                f"{folder}: this model needs a whole experiment, or a table of its own, and cannot embed an array of "
                "images; let the platform embed with it"
            )
            raise EncoderError(message)
        if isinstance(encoder, ChoosesBackend):
            encoder.compute_in(precision)
        elif precision != "fp32":
            message = f"{folder}: precision {precision!r}; this model computes in fp32"
            raise EncoderError(message)
        return cls(encoder)

    def embed_images(
        self,
        images: UInt[np.ndarray, "site channel y x"],
        *,
        channel_names: Sequence[str] | None = None,
        moments: tuple[Shaped[np.ndarray, "..."], Shaped[np.ndarray, "..."]] | None = None,
        top_grey_level: int | None = None,
    ) -> Float32[np.ndarray, "site feature"]:
        """Returns one vector per site, in the order of the images.

        Args:
            images: grey levels, uint8 or uint16, with the axes [site, channel, y, x].
            channel_names: names of the channels of the images. A model that chooses its channels by their names takes
                them from any order; of another one that knows its channels, the order is checked. Without them the
                images have exactly its channels in its order.
            moments: mean and standard deviation of each channel in grey levels, per site ([site, channel]) or for all
                ([channel]), for example those of a whole plate. Without them they are computed from these images: for
                each site, or, for a model that is normalised by plate, over all images of this call.
            top_grey_level: highest grey level of the camera, for images of 16 bits: a channel is divided by at least
                the 255th part of the scale. Without it the highest level of these images counts. The platform knows
                the highest level of the experiment.

        A model with `batch_statistics: experiment` or `plate` adapts to the images of this call: give it a whole
        experiment or plate.

        Raises:
            EncoderError: the images do not fit the model.
        """
        self._check(images, channel_names)
        if top_grey_level is None:
            top_grey_level = max(int(images.max()), 1)
        mean, std = self._moments(images) if moments is None else self._given(images, moments)
        std = np.maximum(std, np.float32(min_std(str(images.dtype), top_grey_level)))
        if isinstance(self.encoder, AdaptsToSites):
            self.encoder.adapt(len(images), lambda rows: (images[rows], mean[rows], std[rows]))
        size = self.encoder.batch_size
        starts = range(0, len(images), size)
        return np.concatenate(
            [self.encoder.embed(images[at : at + size], mean[at : at + size], std[at : at + size]) for at in starts]
        )

    def _check(self, images: np.ndarray, channel_names: Sequence[str] | None) -> None:
        if images.ndim != 4 or not len(images):
            message = f"images of shape {images.shape}; expected the axes {AXES} and at least one site"
            raise EncoderError(message)
        if not any(
            np.can_cast(images.dtype, wanted) and images.dtype.kind == "u" for wanted in self.encoder.pixel_types
        ):
            message = f"images of {images.dtype}; the model takes {' or '.join(self.encoder.pixel_types)}"
            raise EncoderError(message)
        is_chosen = isinstance(self.encoder, ChoosesChannels) and channel_names is not None
        n_expected = len(channel_names or ()) if is_chosen else self.n_channels
        if images.shape[1] != n_expected:
            message = f"images with {images.shape[1]} channels; expected {n_expected}"
            raise EncoderError(message)
        if channel_names is not None:
            self._check_names(tuple(channel_names))
        if isinstance(self.encoder, NeedsSize):
            self.encoder.check_size(*images.shape[2:])

    def _check_names(self, names: tuple[str, ...]) -> None:
        if isinstance(self.encoder, ChoosesChannels):
            self.encoder.choose_channels(names)
            return
        known = self.encoder.trained_channels if isinstance(self.encoder, TrainedOnChannels) else ()
        if not known:
            message = f"channel_names {', '.join(names)}: this model does not know its channels by name; leave them out"
            raise EncoderError(message)
        if names != known:
            message = (
                f"channel_names {', '.join(names)}; the model was trained on {', '.join(known)}. Give the channels in "
                "this order and by these names; leave channel_names out if the same stains have other names"
            )
            raise EncoderError(message)

    def _moments(self, images: UInt[np.ndarray, "site channel y x"]) -> Moments:
        """Those of each site, or of all images where the model is normalised by plate."""
        mean, std = (np.stack(values) for values in zip(*map(channel_statistics, images), strict=True))
        if self.encoder.normalisation == "site":
            return mean, std
        return pooled_moments(mean, std, np.zeros(len(images), dtype=np.int64))

    def _given(
        self, images: np.ndarray, moments: tuple[Shaped[np.ndarray, "..."], Shaped[np.ndarray, "..."]]
    ) -> Moments:
        expected = images.shape[:2]
        mean, std = (np.asarray(one, dtype=np.float32) for one in moments)
        if any(one.shape not in (expected, expected[1:]) for one in (mean, std)):
            message = f"moments of shapes {mean.shape} and {std.shape}; expected {expected} or {expected[1:]}"
            raise EncoderError(message)
        return np.broadcast_to(mean, expected).copy(), np.broadcast_to(std, expected).copy()
