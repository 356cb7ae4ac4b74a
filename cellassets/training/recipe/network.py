"""The recipe of a network to train. Its larger parts have their own files in this folder."""

from typing import Literal

from pydantic import Field, model_validator

from cellassets.configuration import Parameters
from cellassets.training.recipe.augmentation import AugmentationParameters
from cellassets.training.recipe.backbone import Backbone, ResNetBackbone
from cellassets.training.recipe.loss import LossParameters
from cellassets.training.recipe.optimisation import OptimiserParameters

NormalisationKind = Literal["site", "plate"]


class ClassParameters(Parameters):
    """Which wells are classes of the weak supervision. The label is `perturbation_id`.

    `has_unmatched_classes` allows perturbations that only the training experiments or only the held-out experiments
    contain. Without it they are an error, because an accuracy over some classes looks like one over all classes.
    """

    perturbation_kinds: tuple[Literal["gene", "compound"], ...] = Field(
        default=("gene", "compound"), description="Kinds of perturbations that are classes"
    )
    control_kinds: tuple[Literal["negative", "positive", "untreated"], ...] = Field(
        default=("negative", "positive"), description="Kinds of controls that are classes"
    )
    has_unmatched_classes: bool = Field(
        default=False, description="Whether classes may be in only the training or only the validation experiments"
    )


class NetworkRecipe(Parameters):
    """A network that is trained to distinguish perturbations and judged on held-out experiments."""

    kind: Literal["network"] = "network"
    name: str
    train_experiments: tuple[str, ...] = Field(min_length=1, description="Experiments to train on")
    validation_experiments: tuple[str, ...] = Field(
        min_length=1, description="Whole experiments that training never sees"
    )
    backbone: Backbone = Field(default=ResNetBackbone(), description="The network")
    embedding_dim: int = Field(default=128, ge=2, description="Length of the hidden layer that becomes the embedding")
    loss: LossParameters = Field(default=LossParameters(), description="What is minimised")
    augmentation: AugmentationParameters = Field(
        default=AugmentationParameters(), description="Random changes of the training images"
    )
    normalisation: NormalisationKind = Field(
        default="plate", description="Whether grey levels are standardised by site or by plate"
    )
    centre_crop_px: int | None = Field(
        default=None, ge=16, description="Side of the centre that is embedded, in pixels; null: the whole site"
    )
    optimiser: OptimiserParameters = Field(default=OptimiserParameters(), description="How the loss is minimised")
    classes: ClassParameters = Field(default=ClassParameters(), description="Which wells are classes")
    n_epochs: int = Field(
        default=30, ge=1, le=10_000, description="Passes over the training sites; a multiple of validate_every_n_epochs"
    )
    validate_every_n_epochs: int = Field(default=1, ge=1, description="Epochs between two validations")
    batch_size: int = Field(default=32, ge=2, description="Sites per training step")
    uses_flagged_sites: bool = Field(default=False, description="Whether sites that plate_quality flagged are used too")
    max_flagged_frac: float = Field(
        default=0.5, ge=0, le=1, description="Training is refused if more than this share of the sites is flagged"
    )
    precision: Literal["32-true", "bf16-mixed"] = Field(default="32-true", description="Number format of training")
    seed: int = Field(default=0, ge=0, description="Seed of all random choices")

    @model_validator(mode="after")
    def _held_out_is_held_out(self) -> "NetworkRecipe":
        experiments = [*self.train_experiments, *self.validation_experiments]
        shared = sorted(set(self.train_experiments) & set(self.validation_experiments))
        if shared:
            message = f"{', '.join(shared)} named for training and for validation: validate on other experiments"
            raise ValueError(message)
        if len(set(experiments)) < len(experiments):
            message = f"an experiment is named twice: {', '.join(experiments)}"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _last_epoch_is_judged(self) -> "NetworkRecipe":
        if self.n_epochs % self.validate_every_n_epochs:
            message = (
                f"n_epochs {self.n_epochs} is not a multiple of validate_every_n_epochs "
                f"{self.validate_every_n_epochs}: "
                "the last epoch would not be validated"
            )
            raise ValueError(message)
        return self
