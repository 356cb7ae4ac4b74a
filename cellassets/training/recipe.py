"""Recipes: all parameters that determine a model, read from YAML and then frozen.

A recipe describes either a network to train or a classical encoder to set up. Nothing here imports torch, because
sensors read recipes at every tick.

Input: `configs/recipes/<name>.yaml`. Output: `plan.py` (fingerprint), `train.py` and `classical.py`.
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from upath import UPath

from cellassets.configuration import Parameters, load_yaml, validate
from cellassets.errors import RecipeError
from cellassets.fingerprint import check_partition_key, fingerprint

NormalisationKind = Literal["site", "plate"]
FeatureFamily = Literal["intensity", "texture", "granularity", "sizeshape", "radial_distribution"]


def _check_stages(widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
    if len(widths) != len(depths) or min((*widths, *depths)) < 1:
        message = f"widths {widths} and depths {depths}: expected the same number of both, all at least 1"
        raise ValueError(message)


class ResNetBackbone(Parameters):
    """A ResNet: a 7x7 stem with a stride of 4, then stages that halve the image, except the first one.

    Source: He et al. 2016, Deep residual learning for image recognition, with its 'basic' and 'bottleneck' blocks.
    """

    family: Literal["resnet"] = "resnet"
    stem_width: int = Field(default=64, ge=1, description="Channels after the stem")
    widths: tuple[int, ...] = Field(default=(64, 128, 256, 512), min_length=1, description="Channels of each stage")
    depths: tuple[int, ...] = Field(default=(2, 2, 2, 2), description="Blocks of each stage")
    block: Literal["basic", "bottleneck"] = Field(default="basic", description="Kind of residual block")

    @model_validator(mode="after")
    def _stages_match(self) -> "ResNetBackbone":
        _check_stages(self.widths, self.depths)
        return self


class ConvNextBackbone(Parameters):
    """A ConvNeXt: patches of 4 pixels, then stages that halve the image.

    Source: Liu et al. 2022, A ConvNet for the 2020s.
    """

    family: Literal["convnext"] = "convnext"
    widths: tuple[int, ...] = Field(default=(96, 192, 384, 768), min_length=1, description="Channels of each stage")
    depths: tuple[int, ...] = Field(default=(3, 3, 9, 3), description="Blocks of each stage")

    @model_validator(mode="after")
    def _stages_match(self) -> "ConvNextBackbone":
        _check_stages(self.widths, self.depths)
        return self


class VitBackbone(Parameters):
    """A vision transformer. Position embeddings are learnt for the size of the crop and interpolated for other sizes.

    Source: Dosovitskiy et al. 2021, An image is worth 16x16 words.
    """

    family: Literal["vit"] = "vit"
    width: int = Field(default=384, ge=1, description="Length of a token; a multiple of n_heads")
    depth: int = Field(default=12, ge=1, description="Number of blocks")
    n_heads: int = Field(default=6, ge=1, description="Attention heads per block")
    patch_px: int = Field(default=16, ge=1, description="Side of a patch in pixels")

    @model_validator(mode="after")
    def _heads_divide(self) -> "VitBackbone":
        if self.width % self.n_heads:
            message = f"width {self.width} is not a multiple of n_heads {self.n_heads}"
            raise ValueError(message)
        return self


Backbone = Annotated[ResNetBackbone | ConvNextBackbone | VitBackbone, Field(discriminator="family")]


def smallest_px(backbone: Backbone) -> int:
    """Returns the side of the smallest image that a backbone can take, in pixels."""
    if isinstance(backbone, VitBackbone):
        return backbone.patch_px
    # a ResNet pads every layer; a ConvNeXt cuts off what fills no patch, at its stem and at each later stage
    return 1 if isinstance(backbone, ResNetBackbone) else 4 * 2 ** (len(backbone.widths) - 1)


class LossParameters(Parameters):
    """Weighted sum of cross-entropy and ArcFace. A weight of 0 switches a loss off.

    Source: Deng et al. 2019, ArcFace (margin 0.5 rad, scale 64 for millions of faces); the RxRx1 Kaggle winner
    weighted cross-entropy 0.8 and ArcFace 0.2.
    """

    cross_entropy_weight: float = Field(default=1.0, ge=0, description="Weight of cross-entropy")
    arcface_weight: float = Field(default=0.0, ge=0, description="Weight of ArcFace")
    arcface_margin_rad: float = Field(default=0.3, ge=0, lt=1.5707, description="Angular margin of ArcFace in radians")
    arcface_scale: float = Field(default=16.0, gt=0, description="Scale of the cosines in ArcFace")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Probability that is spread over all classes")

    @model_validator(mode="after")
    def _something_to_minimise(self) -> "LossParameters":
        if self.cross_entropy_weight + self.arcface_weight == 0:
            message = "cross_entropy_weight and arcface_weight are both 0: at least one must be positive"
            raise ValueError(message)
        return self


class AugmentationParameters(Parameters):
    """Random changes of an image that do not change its biology.

    Gain and offset change every normalised channel independently: z -> z * U(1 - gain, 1 + gain) + N(0, offset).
    """

    crop_px: int | None = Field(default=None, ge=16, description="Side of random crops in pixels; null: the whole site")
    has_flips: bool = Field(default=True, description="Whether images are mirrored at random")
    has_turns: bool = Field(default=True, description="Whether images are rotated at random by quarter turns")
    gain_jitter: float = Field(default=0.0, ge=0, lt=1, description="Largest relative change of a channel's contrast")
    offset_jitter: float = Field(
        default=0.0, ge=0, description="Standard deviation of the shift of a channel, in normalised grey levels"
    )


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


class ClassicalParameters(Parameters):
    """Parameters of classical features, as CellProfiler defines them.

    Lengths are in pixels of the site after downsampling.

    Attributes:
        n_channels: number of channels of a site.
        nucleus_channel: the channel in which nuclei are segmented, 0-based; null: in each experiment the one that its
            layout declares or that is named after a DNA stain.
        families: the families of features to measure, in the order of the vector.
        image_downsample: side of the squares of pixels that are averaged before anything is measured.
        nucleus_diameter_um: diameter of a typical nucleus in micrometres.
        nucleus_diameter_px: diameter of a typical nucleus.
        cell_growth_px: how far nuclei are grown to become cells.
        texture_scale_px: distance between the two pixels of a pair in the co-occurrence matrix.
        texture_grey_levels: number of grey levels of the co-occurrence matrix.
        granularity_spectrum_length: number of steps of the granularity spectrum.
    """

    n_channels: int = Field(default=6, ge=1, description="Channels of a site")
    nucleus_channel: int | None = Field(
        default=None,
        ge=0,
        description="The channel in which nuclei are found, 0-based; null: the DNA channel of each experiment",
    )
    families: tuple[FeatureFamily, ...] = Field(
        default=("intensity", "texture", "granularity", "sizeshape"), min_length=1, description="Families of features"
    )
    image_downsample: int = Field(
        default=1,
        ge=1,
        description="Factor by which width and height are reduced before; following lengths are in these pixels",
    )
    nucleus_diameter_um: float | None = Field(
        default=None, gt=0, description="Diameter of a nucleus in micrometres; used where the pixel size is known"
    )
    nucleus_diameter_px: float | None = Field(
        default=None, gt=2, description="Diameter of a nucleus in pixels; null: estimated from each experiment's images"
    )
    cell_growth_px: int = Field(
        default=12, ge=1, description="A cell is a nucleus, grown outwards by this length in pixels"
    )
    texture_scale_px: int = Field(
        default=3, ge=1, description="Distance of two pixels whose grey levels are compared, in pixels"
    )
    texture_grey_levels: int = Field(default=32, ge=4, le=256, description="Grey levels that texture distinguishes")
    granularity_spectrum_length: int = Field(
        default=8, ge=1, description="Number of openings of the image, each larger than the one before"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "ClassicalParameters":
        if self.nucleus_channel is not None and self.nucleus_channel >= self.n_channels:
            message = (
                f"nucleus_channel is {self.nucleus_channel}; it is 0-based and must be below n_channels, "
                f"{self.n_channels}"
            )
            raise ValueError(message)
        if len(set(self.families)) < len(self.families):
            message = f"a feature family is named twice: {', '.join(self.families)}"
            raise ValueError(message)
        return self


class ClassicalRecipe(Parameters):
    """A classical encoder. Nothing is trained; it is registered like any other model."""

    kind: Literal["classical"] = "classical"
    name: str
    parameters: ClassicalParameters = Field(default=ClassicalParameters(), description="How the features are measured")


Recipe = NetworkRecipe | ClassicalRecipe


class RecipeKind(Parameters):
    """What a recipe file is read as before its kind is known."""

    model_config = ConfigDict(extra="allow")

    kind: Literal["network", "classical"]


def recipe_experiments(recipe: Recipe) -> list[str]:
    """Returns the experiments that a recipe reads, those to train on first. A classical recipe reads none."""
    if not isinstance(recipe, NetworkRecipe):
        return []
    return [*recipe.train_experiments, *recipe.validation_experiments]


def recipe_fingerprint(recipe: Recipe) -> str:
    """Returns the fingerprint of the recipe alone, without any data."""
    return fingerprint({"recipe": recipe})


def load_recipe(path: UPath) -> Recipe:
    """Returns the recipe in a YAML file. The name of the recipe is the name of the file.

    Raises:
        ConfigError: the file is missing, is not a YAML mapping, or has a wrong key; names the file and the key.
        RecipeError: the file contains another name.
        PartitionKeyError: the file's name cannot be a partition key.
    """
    found = load_yaml(path, RecipeKind)
    values = {"kind": found.kind, **(found.model_extra or {})}
    name = check_partition_key(path.stem, "recipe")
    if values.setdefault("name", name) != name:
        message = (
            f"{path}: name: found {values['name']!r}; the name of a recipe is the name of its file, {name!r}: remove "
            "the key"
        )
        raise RecipeError(message)
    if found.kind == "network":
        return validate(values, NetworkRecipe, source=str(path))
    return validate(values, ClassicalRecipe, source=str(path))
