"""The section `search` of a recipe file: which variants of the recipe are trained, and which are stopped early.

Only the models of the section are here. `family.py` makes recipes of its values, `variant_names.py` names them,
`drawing.py` draws values from ranges. `cellassets.training.proposing` (Bayesian) and `cellassets.training.pruning`
(stopping) call Optuna.
"""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from cellassets.configuration import Parameters

JudgedBy = Literal["validation_accuracy", "validation_top1", "train_loss"]
N_AT_ONCE = 4
LARGEST = 1e15  # of a range: above it, a float no longer holds every integer
SMALLEST_LOG = 1e-30
MAX_STEPS = 100_000
EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")


class Range(Parameters):
    """Numbers between two ends, which belong to it. If both ends and the step are integers, so are its numbers.

    Values that are drawn are rounded to about three significant digits, so that the name of a variant says its value.
    """

    low: int | float = Field(description="Smallest value")
    high: int | float = Field(description="Largest value")
    scale: Literal["linear", "log"] = Field(
        default="linear", description="log: every factor is equally likely, as for learning rates"
    )
    step: int | float | None = Field(
        default=None, gt=0, description="Distance of two values, counted from low; null: any value"
    )

    @property
    def is_integer(self) -> bool:
        """Whether its numbers are integers."""
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 0))

    @property
    def n_steps(self) -> int:
        """Steps from low to the last value; 0 without a step."""
        return 0 if self.step is None else math.floor((self.high - self.low) / self.step + 1e-9)

    @model_validator(mode="after")
    def _can_be_computed(self) -> "Range":
        for end, number in (("low", self.low), ("high", self.high)):
            if not abs(number) <= LARGEST:
                message = f"{end} {number}: expected a number between -{LARGEST:g} and {LARGEST:g}"
                raise ValueError(message)
        if self.step is not None and not (self.high - self.low) / self.step <= MAX_STEPS:
            message = f"step {self.step} divides low {self.low} to high {self.high} into more than {MAX_STEPS:,} values"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _is_consistent(self) -> "Range":
        if self.low >= self.high:
            message = f"low {self.low} is not below high {self.high}"
            raise ValueError(message)
        if self.scale == "log" and self.low < SMALLEST_LOG:
            message = f"low {self.low} with scale log: expected a positive number, {SMALLEST_LOG:g} or larger"
            raise ValueError(message)
        if self.scale == "log" and self.step is not None:
            message = "step contradicts scale log: remove one of the two, or give a list of values"
            raise ValueError(message)
        if self.step is not None and self.step > self.high - self.low:
            message = f"step {self.step} is larger than high - low, {self.high - self.low}"
            raise ValueError(message)
        return self


class Named(Parameters):
    """Values with names of their own, such as whole sections of a recipe. The name is part of the variant's name."""

    named: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")], Any] = Field(
        min_length=1, description="The values by their names; a mapping replaces the whole section of the recipe"
    )


def _as_number(given: Any) -> Any:
    """Returns 1e-3 as the number that it is meant to be: YAML reads it as text, since it has no dot."""
    return float(given) if isinstance(given, str) and EXPONENT.fullmatch(given) else given


def _form(given: object) -> str | None:
    """Which form of a parameter is given: a list, a mapping with names, or a range."""
    if isinstance(given, list | tuple):
        return "values"
    if isinstance(given, Named) or (isinstance(given, Mapping) and "named" in given):
        return "named"
    return "range" if isinstance(given, Range | Mapping) else None


Parameter = Annotated[
    Annotated[tuple[Annotated[Any, BeforeValidator(_as_number)], ...], Tag("values"), Field(min_length=1)]
    | Annotated[Range, Tag("range")]
    | Annotated[Named, Tag("named")],
    Discriminator(
        _form,
        custom_error_type="form_of_parameter",
        custom_error_message="expected a list of values, a range such as {low: 1, high: 8}, or {named: {name: value}}",
    ),
]


class MedianRule(Parameters):
    """Stops a variant whose best value so far is worse than the median of finished variants at the same epoch.

    Source: Golovin et al. 2017, Google Vizier, 'median stopping rule'; `MedianPruner` of Optuna.
    """

    rule: Literal["median"] = "median"
    after_epochs: int = Field(default=1, ge=1, description="First epoch after which a variant can be stopped")
    n_siblings: int = Field(default=3, ge=1, description="Finished variants that there must be to compare with")


class PercentileRule(Parameters):
    """As `median`, with another share: a variant goes on if its best value is among the best `percentile` percent.

    Source: `PercentilePruner` of Optuna.
    """

    rule: Literal["percentile"] = "percentile"
    percentile: float = Field(gt=0, lt=100, description="Share of variants that go on, in percent; 50 is the median")
    after_epochs: int = Field(default=1, ge=1, description="First epoch after which a variant can be stopped")
    n_siblings: int = Field(default=3, ge=1, description="Finished variants that there must be to compare with")


class HalvingRule(Parameters):
    """Compares at a few epochs, each `keep_one_of` times the one before, and lets the best of all variants go on.

    Variants that still train, or were stopped, count with what they reached at these epochs.

    Source: Li et al. 2020, A system for massively parallel hyperparameter tuning (ASHA); `SuccessiveHalvingPruner`.
    """

    rule: Literal["successive_halving"] = "successive_halving"
    after_epochs: int = Field(default=1, ge=1, description="Epoch of the first comparison")
    keep_one_of: int = Field(
        default=3, ge=2, description="One of this number of variants goes on after each comparison"
    )


class ThresholdRule(Parameters):
    """Stops a variant whose value is worse than a fixed number. It is not compared with other variants.

    Source: `ThresholdPruner` of Optuna.
    """

    rule: Literal["threshold"] = "threshold"
    worse_than: float = Field(description="Accuracies below this number, or losses above it, are stopped")
    after_epochs: int = Field(default=1, ge=1, description="First epoch after which a variant can be stopped")


StopRule = Annotated[MedianRule | PercentileRule | HalvingRule | ThresholdRule, Field(discriminator="rule")]


class _Slots(Parameters):
    """What all searches have."""

    n_at_once: int = Field(default=N_AT_ONCE, ge=1, description="Variants of this search that are trained at once")
    metric: JudgedBy = Field(
        default="validation_accuracy", description="What variants are compared by: accuracies rise, the loss falls"
    )
    stop_poor: StopRule | None = Field(
        default=None, description="By which rule poor variants are stopped early; null: none is"
    )


class ListSearch(_Slots):
    """Variants that you name, each with the keys of the recipe that it changes. `{}` is the recipe as it is."""

    method: Literal["list"] = "list"
    variants: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")], dict[str, Any]] = Field(
        min_length=1,
        description="Changes of the recipe by the name of the variant, with keys such as loss.arcface_weight",
    )


class GridSearch(_Slots):
    """Every combination of the values."""

    method: Literal["grid"] = "grid"
    parameters: dict[str, Parameter] = Field(
        min_length=1, description="Values by key of the recipe, such as optimiser.learning_rate"
    )


class RandomSearch(_Slots):
    """Values drawn at random and independently of each other. A larger `n_variants` keeps the first ones."""

    method: Literal["random"] = "random"
    parameters: dict[str, Parameter] = Field(
        min_length=1, description="Values or ranges by key of the recipe, such as optimiser.learning_rate"
    )
    n_variants: int = Field(ge=1, le=1000, description="Variants in all")
    seed: int = Field(default=0, ge=0, description="Seed of the draws")


class BayesianSearch(_Slots):
    """Values that look promising after the variants that were trained so far, by a tree-structured Parzen estimator.

    Source: Bergstra et al. 2011, Algorithms for hyper-parameter optimization; `TPESampler` of Optuna.
    """

    method: Literal["bayesian"] = "bayesian"
    parameters: dict[str, Parameter] = Field(
        min_length=1, description="Values or ranges by key of the recipe, such as optimiser.learning_rate"
    )
    n_variants: int = Field(ge=1, le=1000, description="Variants in all")
    n_random: int = Field(default=10, ge=1, description="Variants that are drawn at random before results count")
    seed: int = Field(default=0, ge=0, description="Seed of the draws")


Search = ListSearch | GridSearch | RandomSearch | BayesianSearch
SEARCHES: dict[str, type[Search]] = {
    "list": ListSearch,
    "grid": GridSearch,
    "random": RandomSearch,
    "bayesian": BayesianSearch,
}


class SearchMethod(Parameters):
    """What a section `search` is read as before its method is known."""

    model_config = ConfigDict(extra="allow")

    method: Literal["list", "grid", "random", "bayesian"]


def varied_keys(search: Search) -> tuple[str, ...]:
    """Returns the keys of the recipe that variants change, in the order of the file."""
    if isinstance(search, ListSearch):
        return tuple(dict.fromkeys(key for changes in search.variants.values() for key in changes))
    return tuple(search.parameters)
