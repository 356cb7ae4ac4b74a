"""Contradictions in a search: refused when its file is read, with the key and its line."""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

from upath import UPath

from cellassets.training.recipe.drawing import values_of
from cellassets.training.recipe.family import Family, Variant, listed_variants, load_family
from cellassets.training.recipe.network import NetworkRecipe
from cellassets.training.recipe.reading import SEARCH_KEY
from cellassets.training.recipe.search import (
    BayesianSearch,
    GridSearch,
    ListSearch,
    Named,
    Parameter,
    RandomSearch,
    Range,
    StopRule,
    ThresholdRule,
    varied_keys,
)

MAX_VARIANTS = 1000
FIXED = ("kind", "name", SEARCH_KEY)
COMPARED = ("validation_experiments", "classes")  # with others, accuracies mean something else
SCHEDULE = ("n_epochs", "validate_every_n_epochs", "optimiser.schedule")  # with others, epochs do


def checked_family(path: UPath) -> tuple[Family, tuple[Variant, ...]]:
    """Returns the family in a recipe file, and the variants that the file alone decides (`listed_variants`).

    Raises:
        ConfigError: the file is missing or wrong, or its search contradicts itself or the recipe; names the file, the
            key and its line.
        RecipeError: the file contains another name.
        PartitionKeyError: the name of the file or of a variant cannot be a partition key.
    """
    family = load_family(path)
    _check_keys(family)
    if not isinstance(family.search, ListSearch):
        for key, parameter in family.search.parameters.items():
            _check_values(family, key, parameter)
        _check_size(family, family.search)
    variants = listed_variants(family)
    tried = variants or tuple(_one_at_a_time(family))
    _check_comparison(family, tried)
    return family, variants


def _check_keys(family: Family) -> None:
    for key, place in _keys(family):
        if key.split(".")[0] in FIXED or not all(key.split(".")):
            message = f"the search cannot vary {key!r}"
            raise family.refusal(message, *place)
    keys = varied_keys(family.search)
    is_list = isinstance(family.search, ListSearch)
    groups = [tuple(changes) for changes in family.search.variants.values()] if is_list else [keys]  # type: ignore[union-attr]
    for group in groups:
        for inner in group:
            outer = next((key for key in group if inner.startswith(f"{key}.")), None)
            if outer is not None:
                message = f"{outer} replaces the whole section, which contains {inner}: remove one of the two"
                raise family.refusal(message, *dict(_keys(family))[inner])


def _keys(family: Family) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields every key that is varied, and its place in the file."""
    if isinstance(family.search, ListSearch):
        for name, changes in family.search.variants.items():
            yield from ((key, (SEARCH_KEY, "variants", name, key)) for key in changes)
    else:
        yield from ((key, (SEARCH_KEY, "parameters", key)) for key in family.search.parameters)


def _check_values(family: Family, key: str, parameter: Parameter) -> None:
    place = (SEARCH_KEY, "parameters", key)
    if isinstance(parameter, Range):
        if isinstance(family.search, GridSearch) and values_of(parameter) is None:
            message = "a grid needs a list of values, or a range with a step; or choose method random or bayesian"
            raise family.refusal(message, *place)
        return
    if isinstance(parameter, Named):
        return
    if any(isinstance(value, Mapping) for value in parameter):
        message = "a value that is a mapping needs a name: write {named: {small: {...}, large: {...}}}"
        raise family.refusal(message, *place)
    repeated = [value for number, value in enumerate(parameter) if value in parameter[:number]]
    if repeated:
        message = f"{repeated[0]!r} is listed twice"
        raise family.refusal(message, *place)


def _check_size(family: Family, search: GridSearch | RandomSearch | BayesianSearch) -> None:
    sizes = [values_of(parameter) for parameter in search.parameters.values()]
    size = None if any(values is None for values in sizes) else prod(len(values or ()) for values in sizes)
    if isinstance(search, GridSearch):
        if size is not None and size > MAX_VARIANTS:
            message = f"the grid has {size} variants, at most {MAX_VARIANTS} are allowed: choose method random"
            raise family.refusal(message, SEARCH_KEY, "parameters")
    elif size is not None and search.n_variants > size:
        message = f"found {search.n_variants}, and the parameters have only {size} combinations"
        raise family.refusal(message, SEARCH_KEY, "n_variants")


def _one_at_a_time(family: Family) -> Iterator[Variant]:
    """Yields a variant with each value of each parameter, the others at their first: all of them must be valid."""
    assert not isinstance(family.search, ListSearch)  # noqa: S101  a list names its variants
    ends = {key: _ends(parameter) for key, parameter in family.search.parameters.items()}
    first = {key: values[0] for key, values in ends.items()}
    for key, values in ends.items():
        yield from (family.variant({**first, key: value}) for value in values)


def _ends(parameter: Parameter) -> tuple[Any, ...]:
    if isinstance(parameter, Range):
        listed = values_of(parameter)
        return (parameter.low, parameter.high) if listed is None else (listed[0], listed[-1])
    return tuple(values_of(parameter) or ())


def _check_comparison(family: Family, variants: tuple[Variant, ...]) -> None:
    """Refuses comparisons of what cannot be compared."""
    search = family.search
    compares = "stop_poor" if search.stop_poor is not None else ""
    compares = "method" if isinstance(search, BayesianSearch) else compares
    if not compares:
        return
    if not isinstance(variants[0].recipe, NetworkRecipe):
        message = "a classical encoder is not trained, so its variants cannot be compared: choose another method"
        raise family.refusal(message, SEARCH_KEY, compares)
    forbidden = [*COMPARED, *(SCHEDULE if search.stop_poor is not None else ())]
    forbidden += ["loss"] if search.metric == "train_loss" else []
    for key, place in _keys(family):
        if any(_overlaps(key, other) for other in forbidden):
            what = (
                "stop_poor compares variants at the same epoch" if key in SCHEDULE else f"{search.metric} is compared"
            )
            message = f"{what}, and a variant with another value would mean something else: do not vary it"
            raise family.refusal(message, *place)
    if search.stop_poor is not None:
        if any(isinstance(one.recipe, NetworkRecipe) and one.recipe.devices.n_processes > 1 for one in variants):
            message = "variants that several processes train are not stopped early: remove it, or the key devices"
            raise family.refusal(message, SEARCH_KEY, "stop_poor")
        _check_epochs(family, variants[0].recipe.n_epochs, search.stop_poor.after_epochs)
        _check_threshold(family, search.stop_poor)
        _check_siblings(family, search.stop_poor, getattr(search, "n_variants", len(variants)))


def _check_epochs(family: Family, n_epochs: int, after_epochs: int) -> None:
    if after_epochs >= n_epochs:
        message = f"after_epochs {after_epochs} is never reached before the last of {n_epochs} epochs: lower it"
        raise family.refusal(message, SEARCH_KEY, "stop_poor", "after_epochs")


def _check_threshold(family: Family, rule: StopRule) -> None:
    is_accuracy = family.search.metric != "train_loss"
    if isinstance(rule, ThresholdRule) and is_accuracy and not 0 < rule.worse_than < 1:
        message = f"found {rule.worse_than}; an accuracy is between 0 and 1, so this would stop all variants or none"
        raise family.refusal(message, SEARCH_KEY, "stop_poor", "worse_than")


def _check_siblings(family: Family, rule: StopRule, n_variants: int) -> None:
    n_siblings = getattr(rule, "n_siblings", 0)
    if n_siblings >= n_variants:
        message = (
            f"found {n_siblings}; expected less than {n_variants}, the number of variants: each is compared with "
            "others, so none would ever be stopped"
        )
        raise family.refusal(message, SEARCH_KEY, "stop_poor", "n_siblings")


def _overlaps(key: str, other: str) -> bool:
    return key == other or key.startswith(f"{other}.") or other.startswith(f"{key}.")
