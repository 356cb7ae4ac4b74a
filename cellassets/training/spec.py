"""`encoder.json` of a trained network: what must be known to use its weights. No torch here.

Written by `checkpoint.py`, read by it and by `cellassets.encoders`.
"""

from typing import Literal

from pydantic import Field

from cellassets.configuration import Parameters
from cellassets.training.recipe import Backbone, NormalisationKind

SPEC_NAME = "encoder.json"
WEIGHTS_NAME = "weights.safetensors"


class Preprocessing(Parameters):
    """What happens to a site's grey levels before the network.

    z = (x - mean) / max(std, 1), channel by channel, with the mean and the standard deviation of the site or of its
    whole plate (`cellassets.training.normalisation`); then the full site, or its centre where `centre_crop_px` is set.
    """

    normalisation: NormalisationKind
    centre_crop_px: int | None = None


class NetworkSpec(Parameters):
    """Everything about a trained network but its weights.

    `trained_px` is the side of the crops that it was trained on: a transformer's position embeddings have that size.
    """

    kind: Literal["network"] = "network"
    format_version: Literal[1] = 1
    n_channels: int = Field(ge=1)
    channel_names: tuple[str, ...]
    embedding_dim: int = Field(ge=1)
    backbone: Backbone
    trained_px: int = Field(ge=1)
    preprocessing: Preprocessing
    recipe_name: str
    recipe_fingerprint: str
