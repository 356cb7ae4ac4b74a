"""The part `objective` of a recipe: whether the network learns from labels or from the images alone.

The part `loss` belongs to `classification`. `cellassets.training.masked_autoencoding` and `self_distillation` compute
the other objectives. Nothing here imports torch.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from cellassets.configuration import Parameters
from cellassets.training.recipe.backbone import DinoV2Backbone, VitBackbone, smallest_px
from cellassets.training.recipe.loss import LossParameters

if TYPE_CHECKING:
    from cellassets.training.recipe.network import NetworkRecipe


class Classification(Parameters):
    """Weak supervision: the network learns to distinguish perturbations. The part `loss` says how."""

    name: Literal["classification"] = "classification"


class MaskedAutoencoding(Parameters):
    """The network sees some patches of an image, and a decoder draws the others. For backbones `vit` and `dinov2`.

    The error is the mean squared difference over the hidden patches. The decoder is not part of the model. The hidden
    layer that becomes the embedding is not learnt: it holds the principal components of the backbone's features of
    training sites, each with a variance of 1.

    Source: He et al. 2022, Masked autoencoders are scalable vision learners.
    """

    name: Literal["masked_autoencoding"] = "masked_autoencoding"
    mask_frac: float = Field(default=0.75, gt=0, lt=1, description="Share of the patches that the network does not see")
    decoder_dim: int = Field(
        default=256, ge=4, description="Length of a token of the decoder; a multiple of 4 and of decoder_n_heads"
    )
    decoder_depth: int = Field(default=4, ge=1, description="Number of blocks of the decoder")
    decoder_n_heads: int = Field(default=8, ge=1, description="Attention heads per block of the decoder")
    has_normalised_targets: bool = Field(
        default=True, description="Whether the pixels of each patch are standardised before they are compared"
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> "MaskedAutoencoding":
        if self.decoder_dim % self.decoder_n_heads or self.decoder_dim % 4:
            message = (
                f"decoder_dim {self.decoder_dim} is not a multiple of 4 and of decoder_n_heads {self.decoder_n_heads}"
            )
            raise ValueError(message)
        return self


class SelfDistillation(Parameters):
    """A student predicts from one crop of a site what a teacher says about another crop of it (DINO).

    Both say with which probability a crop belongs to each of some prototypes. The teacher sees two large crops, the
    student also `n_local_crops` small ones. The teacher is the moving average of the student, and its network is
    judged and registered. Two things keep the answers from becoming all alike: the teacher's mean answer is subtracted
    (centring), and its temperature is lower than that of the student (sharpening).

    Source: Caron et al. 2021, Emerging properties in self-supervised vision transformers. Crops are not resized,
    because the size of cells carries meaning.
    """

    name: Literal["self_distillation"] = "self_distillation"
    n_local_crops: int = Field(default=4, ge=0, description="Small crops of each site that only the student sees")
    local_crop_px: int | None = Field(
        default=None, ge=8, description="Side of the small crops in pixels; null: half of the large ones"
    )
    teacher_momentum: float = Field(
        default=0.996,
        gt=0,
        lt=1,
        description=(
            "Share of the teacher that stays in the first step; it rises to 1. The teacher follows the last "
            "1 / (1 - momentum) steps, so a training of few steps needs a smaller value, such as 0.95"
        ),
    )
    n_prototypes: int = Field(default=4096, ge=2, description="Length of an answer")
    hidden_dim: int = Field(default=1024, ge=1, description="Width of the layers between embedding and answer")
    bottleneck_dim: int = Field(default=256, ge=1, description="Width of the layer before the prototypes")
    student_temperature: float = Field(default=0.1, gt=0, description="The student's cosines are divided by this")
    first_teacher_temperature: float = Field(
        default=0.04, gt=0, description="The teacher's cosines are divided by this in the first step"
    )
    teacher_temperature: float = Field(
        default=0.04, gt=0, description="The same after the warm-up; at most student_temperature"
    )
    temperature_warmup_frac: float = Field(
        default=0.1, ge=0, le=1, description="Share of the training in which the teacher's temperature changes"
    )
    centre_momentum: float = Field(
        default=0.9, ge=0, lt=1, description="Share of the teacher's mean answer that stays in each batch"
    )

    @model_validator(mode="after")
    def _teacher_is_sharper(self) -> "SelfDistillation":
        if max(self.first_teacher_temperature, self.teacher_temperature) > self.student_temperature:
            message = (
                f"teacher temperatures {self.first_teacher_temperature} and {self.teacher_temperature}: expected at "
                f"most student_temperature, {self.student_temperature}; otherwise all answers become alike"
            )
            raise ValueError(message)
        return self


Objective = Annotated[Classification | MaskedAutoencoding | SelfDistillation, Field(discriminator="name")]


def local_crop_px(recipe: "NetworkRecipe", crop_px: int) -> int:
    """Returns the side of the small crops of self-distillation, in pixels.

    Args:
        recipe: one with that objective.
        crop_px: the shorter side of the large crops.
    """
    chosen = recipe.objective
    if isinstance(chosen, SelfDistillation) and chosen.local_crop_px is not None:
        return chosen.local_crop_px
    patch_px = _patch_px(recipe)
    return crop_px // 2 // patch_px * patch_px


def n_masked_patches(mask_frac: float, n_patches: int) -> int:
    """Returns how many of the patches of an image are hidden, rounded to the nearest number."""
    return round(mask_frac * n_patches)


def check_objective(recipe: "NetworkRecipe") -> None:
    """Checks that the other parts of a recipe fit its objective.

    Raises:
        ValueError: they do not; names the keys.
    """
    crop_px = recipe.augmentation.crop_px
    problem = _problem(recipe) or (None if crop_px is None else crop_problem(recipe, crop_px, crop_px))
    if problem is not None:
        raise ValueError(problem)


def crop_problem(recipe: "NetworkRecipe", height: int, width: int) -> str | None:
    """Returns why crops of this size do not fit the objective of a recipe; None if they do."""
    chosen, patch_px = recipe.objective, _patch_px(recipe)
    if isinstance(chosen, MaskedAutoencoding):
        if height % patch_px or width % patch_px:
            return (
                f"objective masked_autoencoding: backbone.patch_px {patch_px} does not divide the crops of "
                f"{height} x {width} pixels: set augmentation.crop_px to a multiple of it"
            )
        n_patches = (height // patch_px) * (width // patch_px)
        if not 0 < n_masked_patches(chosen.mask_frac, n_patches) < n_patches:
            return (
                f"objective.mask_frac {chosen.mask_frac} of the {n_patches} patches of a crop: at least one must be "
                "hidden and one seen: choose a larger augmentation.crop_px or a smaller backbone.patch_px"
            )
    if isinstance(chosen, SelfDistillation) and chosen.n_local_crops:
        return _local_crop_problem(recipe, min(height, width))
    return None


def _problem(recipe: "NetworkRecipe") -> str | None:
    """What contradicts the objective, apart from the size of the crops."""
    chosen, stopping = recipe.objective, recipe.early_stopping
    if isinstance(chosen, Classification):
        if stopping is not None and stopping.metric == "validation_loss":
            return "early_stopping.metric validation_loss is not measured by objective classification: choose another"
        return None
    labels = _use_of_labels(recipe)
    if labels is not None:
        return f"objective {chosen.name} uses no labels, and {labels}"
    if recipe.devices.n_processes > 1:
        return (
            f"objective {chosen.name} is trained by one process, and devices asks for {recipe.devices.n_processes}: "
            "remove the key devices"
        )
    return _masking_problem(recipe) if isinstance(chosen, MaskedAutoencoding) else _averaging_problem(recipe)


def _masking_problem(recipe: "NetworkRecipe") -> str | None:
    backbone = recipe.backbone
    if not isinstance(backbone, VitBackbone | DinoV2Backbone):
        return (
            f"objective masked_autoencoding hides patches, and backbone.family {backbone.family} has none: choose vit "
            "or dinov2, or objective self_distillation"
        )
    if recipe.embedding_dim > backbone.width:
        return (
            f"embedding_dim {recipe.embedding_dim} is above backbone.width {backbone.width}: the embedding of "
            "masked_autoencoding holds principal components of as many features: lower it"
        )
    return None


def _averaging_problem(recipe: "NetworkRecipe") -> str | None:
    if recipe.optimiser.ema_decay is None:
        return None
    return (
        "optimiser.ema_decay: the teacher of self_distillation is a moving average already: remove the key, and set "
        "objective.teacher_momentum"
    )


def _use_of_labels(recipe: "NetworkRecipe") -> str | None:
    """Which part of a recipe uses labels."""
    if recipe.loss != LossParameters():
        return "loss is that of classification: remove the key loss"
    if recipe.augmentation.mix is not None:
        return "augmentation.mix mixes labels: remove the key"
    if "sampling" in recipe.model_fields_set and recipe.sampling != "uniform":
        return f"sampling {recipe.sampling} draws sites by their class: choose uniform, or remove the key"
    if recipe.n_sites_per_class > 1:
        return f"n_sites_per_class {recipe.n_sites_per_class} draws sites by their class: remove the key"
    return None


def _local_crop_problem(recipe: "NetworkRecipe", crop_px: int) -> str | None:
    local_px, patch_px = local_crop_px(recipe, crop_px), _patch_px(recipe)
    needed = smallest_px(recipe.backbone)
    if local_px < needed:
        return (
            f"objective.local_crop_px is {local_px}, and backbone {recipe.backbone.family} needs at least {needed} "
            "pixels: choose larger crops, smaller patches or fewer stages, or n_local_crops: 0"
        )
    if local_px >= crop_px:
        return f"objective.local_crop_px is {local_px}: expected less than the side of the large crops, {crop_px}"
    if local_px % patch_px:
        return f"objective.local_crop_px {local_px} is not a multiple of backbone.patch_px {patch_px}: choose another"
    return None


def _patch_px(recipe: "NetworkRecipe") -> int:
    """The side of a patch; 1 for backbones that take every size."""
    return recipe.backbone.patch_px if isinstance(recipe.backbone, VitBackbone | DinoV2Backbone) else 1
