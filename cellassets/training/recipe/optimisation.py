"""The part `optimiser` of a recipe: how the loss is minimised. `cellassets.training.module` carries it out."""

from typing import Literal

from pydantic import Field

from cellassets.configuration import Parameters, added_field


class OptimiserParameters(Parameters):
    """How the loss is minimised: AdamW, Adam or SGD (momentum 0.9); the learning rate rises first and then falls.

    With `adam` the weight decay is a part of the gradient (L2 regularisation), with `adamw` it is not.

    Source: Loshchilov & Hutter 2019 (AdamW) and 2017 (cosine); Kingma & Ba 2015 (Adam); Smith & Topin 2018 (one cycle).
    """

    name: Literal["adamw", "adam", "sgd"] = Field(default="adamw", description="The optimiser")
    learning_rate: float = Field(default=1e-3, gt=0, description="Largest learning rate")
    weight_decay: float = Field(default=1e-2, ge=0, description="Weight decay")
    schedule: Literal["one_cycle", "cosine"] = Field(
        default="one_cycle", description="How the learning rate falls after the warm-up"
    )
    warmup_frac: float = Field(
        default=0.2, ge=0, lt=1, description="Share of the training in which the learning rate rises"
    )
    ema_decay: float | None = added_field(
        None,
        gt=0,
        lt=1,
        description=(
            "Decay per step of the moving average of the weights, such as 0.999; the averaged network is judged and "
            "registered; null: no average"
        ),
    )
    n_batches_per_step: int = added_field(1, ge=1, description="Batches whose gradients are averaged for one step")
    max_gradient_norm: float | None = added_field(
        None, gt=0, description="A longer gradient is shortened to this length; null: never"
    )


class EarlyStopping(Parameters):
    """Ends a training when held-out sites, or the loss, have not improved for some validations.

    The network of the last epoch is registered, not that of the best one. The learning rate follows the schedule for
    all `n_epochs`: a training that stops early ends before `one_cycle` or `cosine` has brought it down.
    """

    metric: Literal["validation_accuracy", "validation_top1", "train_loss", "validation_loss"] = Field(
        default="validation_accuracy",
        description="What must improve: accuracies rise, losses fall; validation_loss only without labels",
    )
    patience: int = Field(ge=1, description="Validations without improvement after which the training ends")
