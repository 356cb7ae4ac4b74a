"""The part `optimiser` of a recipe: how the loss is minimised. `cellassets.training.module` carries it out."""

from typing import Literal

from pydantic import Field

from cellassets.configuration import Parameters


class OptimiserParameters(Parameters):
    """How the loss is minimised: AdamW or SGD (momentum 0.9), with a learning rate that rises first and then falls.

    Source: Loshchilov & Hutter 2019 (AdamW) and 2017 (cosine); Smith & Topin 2018 (one cycle).
    """

    name: Literal["adamw", "sgd"] = Field(default="adamw", description="The optimiser")
    learning_rate: float = Field(default=1e-3, gt=0, description="Largest learning rate")
    weight_decay: float = Field(default=1e-2, ge=0, description="Weight decay")
    schedule: Literal["one_cycle", "cosine"] = Field(
        default="one_cycle", description="How the learning rate falls after the warm-up"
    )
    warmup_frac: float = Field(
        default=0.2, ge=0, lt=1, description="Share of the training in which the learning rate rises"
    )
