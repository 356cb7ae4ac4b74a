"""What a registered model has seen: the experiments, cell types and perturbations that it was trained on.

The stage `checkpoint` declares it for the models that it trains; whoever registers a model from elsewhere declares it
with `cellassets model declare` (`cellassets.stages.declaring` checks the names). The declaration is a tag of the model
version. `cellassets.benchmarks.parts` says what follows for the wells of a dataset.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field, ValidationError

from cellassets.configuration import Parameters
from cellassets.errors import RegistryError
from cellassets.registry.entry import ModelEntry

TAG = "trained_on"
BY_HAND_TAG = "trained_on_by_hand"
RECIPE_TAG = "recipe_fingerprint"  # the stage `checkpoint` gives it to the models that it trains
MAX_CHARACTERS = 100_000  # the longest value of a model version's tag in MLflow
UNTRAINED_KINDS = frozenset({"classical"})


class TrainedOn(Parameters):
    """What a model was trained on.

    `parents` are the versions that it was fine-tuned from: it has seen what they have seen. All lists are empty for a
    model that nothing was trained for.
    """

    experiments: tuple[str, ...] = Field(default=(), description="Experiments whose images it was trained on")
    validation_experiments: tuple[str, ...] = Field(
        default=(), description="Experiments by which training was watched, stopped or chosen"
    )
    cell_types: tuple[str, ...] = Field(
        default=(), description="Cell types of images from elsewhere; those of landed experiments are known"
    )
    perturbations: tuple[str, ...] | None = Field(
        default=None, description="Perturbations that it was trained on, as classes or without labels; null: not known"
    )
    parents: tuple[str, ...] = Field(default=(), description="Model versions that it was fine-tuned from")


@dataclass(frozen=True)
class Seen:
    """What a model and all models that it was fine-tuned from have seen.

    Attributes:
        training: experiments that any of them was trained on.
        validation: experiments that any of them was watched or chosen by, and none was trained on.
        cell_types: cell types of images from elsewhere.
        perturbations: perturbations that were classes; None if one of the models does not say.
        is_known: false if one of the models does not say what it was trained on.
    """

    training: frozenset[str] = frozenset()
    validation: frozenset[str] = frozenset()
    cell_types: frozenset[str] = frozenset()
    perturbations: frozenset[str] | None = frozenset()
    is_known: bool = True

    @property
    def experiments(self) -> frozenset[str]:
        """Experiments seen in training or in validation."""
        return self.training | self.validation

    def in_words(self) -> str:
        """Returns what was seen in training, in one phrase."""
        return "; ".join(f"{title} {value}" for title, value in self.lines().items()).removeprefix("trained on ")

    def lines(self) -> dict[str, str]:
        """Returns what people read about it: titles and values."""
        if not (self.is_known or self.experiments):
            return {"trained on": "not declared"}
        values = {
            "trained on": sorted(self.training),
            "validated on": sorted(self.validation),
            "cell types from elsewhere": sorted(self.cell_types),
        }
        found = {title: ", ".join(names) for title, names in values.items() if names}
        more = {} if self.is_known else {"and before": "not declared by a model that it was fine-tuned from"}
        return {**found, **more} or {"trained on": "nothing"}


def declared(entry: ModelEntry) -> TrainedOn | None:
    """Returns what is declared about a model version; None where nobody says, or the tag cannot be read."""
    if TAG in entry.tags:
        try:
            return TrainedOn.model_validate_json(entry.tags[TAG])
        except ValidationError:
            return None
    return TrainedOn(perturbations=()) if entry.kind in UNTRAINED_KINDS else None


def declaration(trained_on: TrainedOn) -> dict[str, str]:
    """Returns the tag that declares what a model was trained on.

    A list of perturbations that is too long for a tag is left out; it then counts as not known.

    Raises:
        RegistryError: the declaration is too long without the perturbations too.
    """
    text = trained_on.model_dump_json(exclude_defaults=True)
    if len(text) > MAX_CHARACTERS:
        text = trained_on.model_copy(update={"perturbations": None}).model_dump_json(exclude_defaults=True)
    if len(text) > MAX_CHARACTERS:
        n_experiments = len(trained_on.experiments) + len(trained_on.validation_experiments)
        message = (
            f"the declaration has {len(text):,} characters, with {n_experiments:,} experiments and "
            f"{len(trained_on.cell_types):,} cell types; expected at most {MAX_CHARACTERS:,} characters, which is what "
            "MLflow stores. Leave out experiments that will never land here, and name their cell types in cell_types"
        )
        raise RegistryError(message)
    return {TAG: text}


def is_declared_by_recipe(entry: ModelEntry) -> bool:
    """Returns whether a model was trained here and its recipe declares what it was trained on."""
    return RECIPE_TAG in entry.tags and BY_HAND_TAG not in entry.tags and declared(entry) is not None


def with_ancestors(key: str, trained_on: TrainedOn, declarations: Mapping[str, TrainedOn | None]) -> TrainedOn:
    """Returns a declaration to which all is added that the model's parents have seen.

    It stays known when a parent is deleted, or when other files are registered under its name. Perturbations are added
    if something is declared about every ancestor.

    Args:
        key: the model version.
        trained_on: what is declared about it.
        declarations: what is declared about every registered version now.
    """
    others = {**declarations, key: TrainedOn(perturbations=())}
    for parent in trained_on.parents:
        seen = seen_by(parent, others)
        perturbations = trained_on.perturbations
        if seen.is_known and perturbations is not None:
            perturbations = None if seen.perturbations is None else _union(perturbations, seen.perturbations)
        trained_on = trained_on.model_copy(
            update={
                "experiments": _union(trained_on.experiments, seen.training),
                "validation_experiments": _union(trained_on.validation_experiments, seen.validation),
                "cell_types": _union(trained_on.cell_types, seen.cell_types),
                "perturbations": perturbations,
            }
        )
    return trained_on


def seen_by(key: str, declarations: Mapping[str, TrainedOn | None]) -> Seen:
    """Returns what a model has seen, including what its parents have seen.

    Args:
        key: the model version.
        declarations: what is declared about every registered version. A version that is missing counts as unknown.
    """
    found, waiting, lineage = Seen(), [key], set[str]()
    while waiting:
        name = waiting.pop()
        if name in lineage:
            continue
        lineage.add(name)
        one = declarations.get(name)
        if one is None:
            found = Seen(found.training, found.validation, found.cell_types, None, is_known=False)
            continue
        waiting += one.parents
        found = _joined(found, one)
    return Seen(
        found.training, found.validation - found.training, found.cell_types, found.perturbations, found.is_known
    )


def _union(names: tuple[str, ...], more: frozenset[str]) -> tuple[str, ...]:
    """The names in their order, then the new ones, sorted."""
    return (*names, *sorted(more - set(names)))


def _joined(found: Seen, one: TrainedOn) -> Seen:
    is_listed = found.perturbations is not None and one.perturbations is not None
    return Seen(
        found.training | set(one.experiments),
        found.validation | set(one.validation_experiments),
        found.cell_types | set(one.cell_types),
        found.perturbations.union(one.perturbations) if is_listed else None,  # type: ignore[union-attr,arg-type]
        found.is_known,
    )
