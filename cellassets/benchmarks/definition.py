"""What a benchmark is, and the rows that it returns. Dagster loads this module: it imports neither numpy nor polars.

A package of your own declares a benchmark with one decorated function:

    @benchmark(title=..., description=..., code_version="1", ranked_by=RankedBy("spread", "spread"))
    def spread(judged: JudgedMap, parameters: SpreadParameters) -> list[Row]: ...

The benchmarks of this package are declared in `<family>/benchmarks.py`. They name their function as `module:function`,
so that numpy is imported when a map is scored and not when Dagster loads. The catalogue of all benchmarks is
`cellassets.benchmarks.registry`; `docs/add-a-benchmark.md` is the guide.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from pydantic import Field, ValidationError

from cellassets.configuration import Parameters
from cellassets.errors import ConfigError

if TYPE_CHECKING:
    from cellassets.benchmarks.judged import JudgedMap

# version of what the rows of all benchmarks share: columns, intervals, effect sizes. Raise it when that changes: all
# scores are then computed again, and earlier ones are not read until then. 2: z_score, effect_size; 3: exact intervals;
# 4: n_null_wells; 5: parts and exposure
ROWS_VERSION = "5"
# what a benchmark reads beside the map and its wells; its scores become stale when these change
Use = Literal["pairs", "sets", "targets", "gene_arms", "other_maps"]
# what a benchmark measures; the calibration study simulates its absence to get the null distribution
Subject = Literal["perturbations", "batches", "chromosome_arms"]


class PermutationParameters(Parameters):
    """Number of permutations of the null distribution, and their seed. Parameters of a benchmark inherit from it."""

    n_permutations: int = Field(default=1000, ge=99, description="Permutations that make up the null distribution")
    seed: int = Field(default=0, description="Seed of the permutations")


class NameParameters(PermutationParameters):
    """Which units exchange names in the null distribution. Parameters of benchmarks that permute names inherit from it.

    `plates`: units with equally many wells on every plate. `batches`: units with equally many wells in every batch,
    whatever their plates; only for layouts that are random within batches.
    """

    exchange_within: Literal["plates", "batches"] = Field(
        default="plates",
        description="Units exchange names if they share their plates, or (in random layouts only) their batches",
    )


@dataclass(frozen=True)
class Score:
    """One row of a SCORES table, without the columns that all rows of a run share.

    The summary is the mean of the rows of level `perturbation`. `z_score` is the value minus the mean of the null
    distribution, in standard deviations of the null distribution; it grows with the number of units. `effect_size` is
    the share of the way from that mean to the end of the metric's scale; it does not (`share_of_possible`).
    """

    metric: str
    level: Literal["summary", "perturbation"]
    value: float
    null_mean: float
    null_low: float
    null_high: float
    p_value: float
    n_units: int
    unit: Literal["well", "pair", "perturbation", "batch"]  # what n_units counts; the name of a pair is A|B
    perturbation_id: str | None = None
    q_value: float | None = None
    correction: str = "none"
    interval_low: float | None = None
    interval_high: float | None = None
    n_null_wells: int | None = None  # treated wells behind the null distribution; None: all that the value is from
    z_score: float | None = None
    effect_size: float | None = None


@dataclass(frozen=True)
class Influence:
    """One row of an INFLUENCES table: by how much the mean would fall without something that all units share.

    `shared_id` is a control well (experiment/plate/well), or a perturbation that the others are compared with.
    Comparisons of models use influences to estimate the noise that all units of one model have in common.
    """

    metric: str
    shared_id: str
    influence: float


Row = Score | Influence


@dataclass(frozen=True)
class PublishedValue:
    """One row of a PUBLISHED table: a statistic of the literature on the same map, as its own code computes it.

    `n_units` is the number of perturbations, pairs, clusters or compounds behind the value.
    """

    statistic: str
    source: str
    value: float
    n_units: int
    p_value: float | None = None


@dataclass(frozen=True)
class RankedBy:
    """The summary metric that models are ranked by, and the metric of the units that it is the mean of."""

    metric: str
    unit_metric: str
    is_higher_better: bool = True


@dataclass(frozen=True)
class OverCorrection:
    """The summary metric that says by how much the headline is below chance, and what that means, in words."""

    metric: str
    meaning: str


@dataclass(frozen=True)
class Benchmark:
    """A declared benchmark.

    Attributes:
        name: the name of its function; of its asset and its settings file too.
        title: what people see.
        description: one or two sentences in plain words: what a high value means, and what chance gives.
        code_version: raise it when the same map would get other scores; all scores are then computed again.
        function: computes the rows from a JudgedMap and parameters; itself, or its name as `module:function`. The
            annotation of its second argument is the model of the benchmark's parameters.
        ranked_by: the summary row that models are ranked by, and the rows of level perturbation that it is the mean of.
        uses: the kinds of annotations that it reads, and whether it reads the model's maps of other datasets.
        asks_about: what it measures: perturbations (without effect, their labels mean nothing), batches (without
            effect, batches and plates do not differ) or chromosome_arms (without effect, genes of one arm share
            nothing).
        published: computes the statistics of the literature on the same map (a list of PublishedValue); itself, or its
            name as `module:function`. They are shown beside the score, and models are never ranked by them.
        over_correction: of a nuisance: the metric that says how far its headline is below chance.
        is_headline: whether it is in the family of comparisons that verdicts are corrected over. Measures that repeat
            the question of another benchmark are not: they are shown apart.
    """

    name: str
    title: str
    description: str
    code_version: str
    function: str | Callable[..., Sequence[Row]]
    ranked_by: RankedBy
    uses: tuple[Use, ...] = ()
    asks_about: Subject = "perturbations"
    published: str | Callable[..., Sequence[PublishedValue]] | None = None
    over_correction: OverCorrection | None = None
    is_headline: bool = True

    @property
    def version(self) -> str:
        """Version of everything that its numbers depend on: what all benchmarks share, and its own code."""
        return f"{ROWS_VERSION}.{self.code_version}"

    @property
    def headline_metric(self) -> str:
        """The metric of the summary row that models are ranked by."""
        return self.ranked_by.metric

    @property
    def unit_metric(self) -> str:
        """The metric of the units that models are compared on; the headline is their mean."""
        return self.ranked_by.unit_metric

    @property
    def is_higher_better(self) -> bool:
        """The direction of a better model."""
        return self.ranked_by.is_higher_better

    @property
    def parameters(self) -> type[PermutationParameters]:
        """The model of the parameters. Imports the function's module.

        Raises:
            ConfigError: the function does not say what its parameters are, or one of them has no default.
        """
        return parameters_of(_resolved(self.function))

    def rows(self, judged: "JudgedMap", parameters: Parameters) -> list[Row]:
        """Returns scores and influences of one map, as the function returns them.

        Raises:
            BenchmarkError: the benchmark cannot be computed on this map; or no benchmark can, because values are not
                finite, a well is there twice, or everything has the same vector.
        """
        from cellassets.benchmarks.sound import check_sound

        check_sound(self.name, judged)
        return list(_resolved(self.function)(judged, parameters))

    def score(self, judged: "JudgedMap", parameters: Parameters) -> list[Score]:
        """Returns the scores of one map, without the influences."""
        return [row for row in self.rows(judged, parameters) if isinstance(row, Score)]

    def published_values(self, judged: "JudgedMap", parameters: Parameters) -> list[PublishedValue]:
        """Returns the published statistics of one map; none where the literature has none for this benchmark."""
        if self.published is None:
            return []
        return list(_resolved(self.published)(judged, parameters))


def benchmark(  # noqa: PLR0913 - the fields of a Benchmark, all by name
    *,
    title: str,
    description: str,
    code_version: str,
    ranked_by: RankedBy,
    uses: tuple[Use, ...] = (),
    asks_about: Subject = "perturbations",
    published: Callable[..., Sequence[PublishedValue]] | None = None,
    is_headline: bool = True,
) -> Callable[[Callable[..., Sequence[Row]]], Benchmark]:
    """Returns a decorator that turns a function into a benchmark of the function's name.

    The fields are those of `Benchmark`.

    Raises:
        ConfigError: the function does not say what its parameters are, or one of them has no default.
    """

    def declare(function: Callable[..., Sequence[Row]]) -> Benchmark:
        parameters_of(function)
        return Benchmark(
            name=function.__name__,
            title=title,
            description=description,
            code_version=code_version,
            function=function,
            ranked_by=ranked_by,
            uses=uses,
            asks_about=asks_about,
            published=published,
            is_headline=is_headline,
        )

    return declare


def parameters_of(function: Callable[..., Sequence[Row]]) -> type[PermutationParameters]:
    """Returns the annotation of a benchmark function's second argument.

    Raises:
        ConfigError: it is not a subclass of PermutationParameters, or one of its fields has no default.
    """
    name = function.__name__
    try:
        model = get_type_hints(function).get([*signature(function).parameters][1])
    except (NameError, IndexError) as error:
        message = f"benchmark {name}: cannot read the types of its arguments ({error}); {_EXPECTED}"
        raise ConfigError(message) from error
    if not (isinstance(model, type) and issubclass(model, PermutationParameters)):
        message = f"benchmark {name}: its second argument is annotated with {model}; {_EXPECTED}"
        raise ConfigError(message)
    try:
        model()
    except ValidationError as error:
        message = f"benchmark {name}: every parameter of {model.__name__} needs a default ({error})"
        raise ConfigError(message) from error
    return model


_EXPECTED = (
    "expected a function of a JudgedMap and of a subclass of PermutationParameters, imported outside `if TYPE_CHECKING`"
)


def _resolved(reference: str | Callable[..., Any]) -> Callable[..., Any]:
    """A function, or the function that `module:function` names."""
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function
