"""`encoder.json` of a trained network: everything that is needed to use its weights. No torch here.

Written by `checkpoint.py`, read by it and by `cellassets.encoders`.
"""

from typing import Literal

from pydantic import Field

from cellassets.configuration import Parameters, added_field
from cellassets.training.recipe import Arithmetic, Backbone, BatchStatistics, NormalisationKind

SPEC_NAME = "encoder.json"
WEIGHTS_NAME = "weights.safetensors"
CLASSIFIER_NAME = "classifier.safetensors"


class Preprocessing(Parameters):
    """How the grey levels of a site are prepared for the network.

    z = (x - mean) / max(std, least) for each channel, with the mean and the standard deviation of the site or of its
    plate; `least` is one level of 8-bit images (`cellassets.training.normalisation`). Then the full site is used, or
    its centre if `centre_crop_px` is set. Batch normalisation has the statistics of the training, or of the experiment.
    The channels are those of the experiment in its order, or, if `chooses_channels` is set, those of `channel_names`.
    """

    normalisation: NormalisationKind
    centre_crop_px: int | None = None
    batch_statistics: BatchStatistics = added_field("trained", description="Of batch normalisation")
    chooses_channels: bool = added_field(
        False, description="Whether the network finds its channels by their names among those of an experiment"
    )
    arithmetic: Arithmetic = added_field("fastest", description="How images are embedded")


class NetworkSpec(Parameters):
    """Everything about a trained network except its weights.

    `trained_px` is the side of the crops in training. The position embeddings of a transformer have that size.
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
