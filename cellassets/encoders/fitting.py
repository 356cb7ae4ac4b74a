"""Whether an encoder fits an experiment: its channels, the type of its pixels, and the size of its sites.

Everything is known from the descriptions of both, so it is checked before the first image is read. Profiles are
compared with the wells of an experiment in `profiles.py`.
"""

import numpy as np

from cellassets.encoders.container.encoder import ContainerEncoder
from cellassets.encoders.loading import ChoosesChannels, Encoder, NeedsSize, TrainedOnChannels
from cellassets.errors import EncoderError
from cellassets.images.reader import ExperimentStore


def check_fit(encoder: Encoder | ContainerEncoder, store: ExperimentStore, model_key: str) -> None:
    """Checks that an encoder takes the sites of an experiment.

    Args:
        encoder: any encoder of images.
        store: the experiment's sites.
        model_key: the model, for messages.

    Raises:
        EncoderError: it does not; the message says why and what to do.
    """
    try:
        _check_channels(encoder, store, model_key)
        _check_pixels(encoder, store, model_key)
        if isinstance(encoder, NeedsSize):
            encoder.check_size(store.height, store.width)
    except _Refused:
        raise
    except EncoderError as error:
        message = f"model {model_key}, experiment {store.experiment_id}: {error}"
        raise EncoderError(message) from error


class _Refused(EncoderError):
    """A refusal that names the model and the experiment already."""


def _check_channels(encoder: Encoder | ContainerEncoder, store: ExperimentStore, model_key: str) -> None:
    if isinstance(encoder, ChoosesChannels):
        encoder.choose_channels(store.channel_names)
        return
    found = ", ".join(store.channel_names)
    if encoder.n_channels != store.n_channels:
        message = (
            f"model {model_key} was made for {encoder.n_channels} channels, experiment {store.experiment_id} has "
            f"{store.n_channels} ({found})"
        )
        raise _Refused(message)
    names = encoder.spec.channel_names if isinstance(encoder, ContainerEncoder) else None
    if names is not None and names != store.channel_names:
        message = (
            f"model {model_key} expects the channels {', '.join(names)}; experiment {store.experiment_id} has {found}"
        )
        raise _Refused(message)
    _check_order(encoder, store, model_key)


def _check_order(encoder: Encoder | ContainerEncoder, store: ExperimentStore, model_key: str) -> None:
    """Refuses the channels that a network was trained on in another order. Other names of channels are accepted."""
    names = encoder.trained_channels if isinstance(encoder, TrainedOnChannels) else store.channel_names
    if names != store.channel_names and sorted(names) == sorted(store.channel_names):
        message = (
            f"model {model_key} was trained on the channels {', '.join(names)}; experiment {store.experiment_id} has "
            f"them in another order ({', '.join(store.channel_names)}). Declare them in the order of training in the "
            "experiment.yaml of the landing zone"
        )
        raise _Refused(message)


def _check_pixels(encoder: Encoder | ContainerEncoder, store: ExperimentStore, model_key: str) -> None:
    if not any(np.can_cast(store.dtype, pixel_type) for pixel_type in encoder.pixel_types):
        message = (
            f"model {model_key} takes pixels of {' or '.join(encoder.pixel_types)}, experiment {store.experiment_id} "
            f"has {store.dtype}; nothing is converted to fewer bits. Use a model that takes {store.dtype}, or, if this "
            "one does, declare it in pixel_types"
        )
        raise _Refused(message)
