"""The recipe of a network to train. Its larger parts have their own files in this folder."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from cellassets.configuration import Parameters, added_field
from cellassets.fingerprint import check_partition_key
from cellassets.training.recipe.augmentation import AugmentationParameters
from cellassets.training.recipe.backbone import Backbone, ResNetBackbone
from cellassets.training.recipe.devices import Devices
from cellassets.training.recipe.loss import LossParameters
from cellassets.training.recipe.objective import Classification, Objective, check_objective
from cellassets.training.recipe.optimisation import EarlyStopping, OptimiserParameters
from cellassets.training.recipe.start import InitialWeights

LARGEST = 65_536  # of sizes that no memory holds beyond it; a larger number is a mistake
NormalisationKind = Literal["site", "plate"]
BatchStatistics = Literal["trained", "experiment", "plate"]
Arithmetic = Literal["fastest", "fp32"]
Sampling = Literal["class_balanced", "uniform", "one_experiment", "equal_experiments"]


class ClassParameters(Parameters):
    """Which wells are classes of the weak supervision. The label is `perturbation_id`.

    A training without labels uses all wells. Then the classes only say by which wells the network is judged.

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
    """A network that is trained, by labels or without, and judged on held-out experiments."""

    kind: Literal["network"] = "network"
    name: str
    train_experiments: tuple[str, ...] = Field(min_length=1, description="Experiments to train on")
    validation_experiments: tuple[str, ...] = Field(
        min_length=1, description="Whole experiments that training never sees"
    )
    backbone: Backbone = Field(default=ResNetBackbone(), description="The network")
    embedding_dim: int = Field(
        default=128, ge=2, le=LARGEST, description="Length of the hidden layer that becomes the embedding"
    )
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
    batch_size: int = Field(
        default=32, ge=2, le=LARGEST, description="Sites per training step, of all devices together"
    )
    uses_flagged_sites: bool = Field(default=False, description="Whether sites that plate_quality flagged are used too")
    max_flagged_frac: float = Field(
        default=0.5, ge=0, le=1, description="Training is refused if more than this share of the sites is flagged"
    )
    precision: Literal["32-true", "bf16-mixed"] = Field(default="32-true", description="Number format of training")
    seed: int = Field(default=0, ge=0, description="Seed of all random choices")
    sampling: Sampling = added_field(
        "class_balanced",
        description=(
            "Which sites make up a batch. class_balanced: every class equally often; uniform: every site once per "
            "epoch; one_experiment: as class_balanced, all sites of a batch from one experiment; equal_experiments: as "
            "class_balanced, from every experiment equally many"
        ),
    )
    n_sites_per_class: int = added_field(
        1, ge=1, description="Sites of one class that follow each other; losses that compare pairs need 2 or more"
    )
    start_from: str | None = added_field(
        None,
        pattern=r"^.+\.v\d+$",
        description="Registered version whose network is trained further, such as resnet.v1; null: random weights",
    )
    weights: InitialWeights | None = added_field(
        None, description="A file from which the backbone gets its first weights; null: random weights"
    )
    frozen: tuple[str, ...] = added_field(
        (), description="Patterns of names of weights that stay as they are, such as backbone.*"
    )
    batch_statistics: BatchStatistics = added_field(
        "trained",
        description=(
            "Whose means and deviations batch normalisation uses when images are embedded. trained: those of the "
            "training; experiment, plate: those of the experiment or plate that is embedded (AdaBN)"
        ),
    )
    arithmetic: Arithmetic = added_field(
        "fastest",
        description=(
            "How images are embedded. fastest: by the fastest backend of the machine whose vectors are close to those "
            "of torch in float32 (centred cosine of at least 0.999); fp32: by torch in float32 on every machine"
        ),
    )
    early_stopping: EarlyStopping | None = added_field(
        None, description="When the training ends before n_epochs; null: never"
    )
    objective: Objective = added_field(
        Classification(), description="Whether the network learns from labels, or from the images alone"
    )
    devices: Devices = added_field(Devices(), description="Processes that train together, and where they run")
    channels: tuple[str, ...] | None = added_field(
        None, min_length=1, description="Names of the channels that the network takes, in this order; null: all"
    )
    train_site_indices: tuple[Annotated[int, Field(ge=1)], ...] | None = added_field(
        None, min_length=1, description="Sites of each well that are trained on, counted from 1; null: all"
    )
    control_experiments: tuple[str, ...] = added_field(
        (),
        description=(
            "Experiments of which only the controls are trained on. Validation experiments may be among them: their "
            "controls are then trained on, and not validated on"
        ),
    )

    @field_validator("train_experiments", "validation_experiments", "control_experiments")
    @classmethod
    def _are_experiments(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            check_partition_key(name, "experiment")
        return names

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
    def _parts_are_named_once(self) -> "NetworkRecipe":
        for key in ("channels", "train_site_indices", "control_experiments"):
            names = [str(name) for name in getattr(self, key) or ()]
            if len(set(names)) < len(names):
                message = f"{key}: found {', '.join(names)}; expected each of them once"
                raise ValueError(message)
        trained = sorted(set(self.train_experiments) & set(self.control_experiments))
        if trained:
            message = (
                f"control_experiments: {', '.join(trained)} are trained on already, controls included; remove them"
            )
            raise ValueError(message)
        if self.control_experiments and not self.classes.control_kinds:
            message = "control_experiments without classes.control_kinds: no control is a class; remove one of the two"
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

    @model_validator(mode="after")
    def _batches_can_be_drawn(self) -> "NetworkRecipe":
        n_experiments = len(self.train_experiments)
        if self.sampling in {"one_experiment", "equal_experiments"} and n_experiments == 1:
            message = f"sampling {self.sampling} with one training experiment: expected class_balanced or uniform"
            raise ValueError(message)
        if self.sampling == "equal_experiments" and self.batch_size < n_experiments:
            message = (
                f"sampling equal_experiments: batch_size {self.batch_size} is below the number of training "
                f"experiments, {n_experiments}"
            )
            raise ValueError(message)
        if self.n_sites_per_class > 1 and self.sampling in {"uniform", "equal_experiments"}:
            message = f"n_sites_per_class {self.n_sites_per_class} contradicts sampling {self.sampling}: expected 1"
            raise ValueError(message)
        if self.batch_size % self.n_sites_per_class:
            message = f"batch_size {self.batch_size} is not a multiple of n_sites_per_class {self.n_sites_per_class}"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _batches_can_be_shared(self) -> "NetworkRecipe":
        n_processes = self.devices.n_processes
        if self.batch_size % n_processes:
            message = (
                f"batch_size {self.batch_size} is not a multiple of the {n_processes} processes of devices (n_per_node "
                f"{self.devices.n_per_node} times n_nodes {self.devices.n_nodes}): batch_size counts the sites of all "
                "processes together"
            )
            raise ValueError(message)
        if self.devices.strategy == "fsdp" and n_processes == 1:
            message = "devices.strategy fsdp with one process: expected n_per_node or n_nodes above 1, or ddp"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _labels_can_be_mixed(self) -> "NetworkRecipe":
        if self.augmentation.mix is not None and self.loss.metric_losses:
            names = ", ".join(loss.name for loss in self.loss.metric_losses)
            message = (
                f"augmentation.mix gives images two labels, and loss.metric_losses ({names}) take one: remove one of "
                "the two"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _start_is_unique(self) -> "NetworkRecipe":
        if self.start_from is not None and self.weights is not None:
            message = "start_from and weights both give the first weights: remove one of the two"
            raise ValueError(message)
        if self.frozen and self.start_from is None and self.weights is None:
            message = "frozen without start_from and without weights would keep random weights: remove it"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _can_stop_early(self) -> "NetworkRecipe":
        n_validations = self.n_epochs // self.validate_every_n_epochs
        if self.early_stopping is not None and self.early_stopping.patience >= n_validations:
            message = (
                f"early_stopping.patience {self.early_stopping.patience} is never reached in {n_validations} "
                "validations: lower it, or validate more often (validate_every_n_epochs)"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _objective_fits(self) -> "NetworkRecipe":
        check_objective(self)
        return self
