"""Families: recipe files with a section `search`, and the variants that they stand for.

Every variant is a recipe of its own, with its own name. Its fingerprint is that of a recipe file with the same content:
a change of the search trains nothing again.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from upath import UPath

from cellassets.configuration import YamlValues, validate
from cellassets.errors import ConfigError
from cellassets.fingerprint import fingerprint
from cellassets.training.recipe.drawing import contains, drawn, resolved, values_of
from cellassets.training.recipe.reading import SEARCH_KEY, Recipe, read_recipe, recipe_of
from cellassets.training.recipe.search import (
    SEARCHES,
    BayesianSearch,
    GridSearch,
    ListSearch,
    RandomSearch,
    Search,
    SearchMethod,
)
from cellassets.training.recipe.variant_names import variant_name

N_DRAWS = 1000  # of one random variant, until it differs from those before it


@dataclass(frozen=True)
class Variant:
    """One recipe of a family.

    Attributes:
        name: name of the recipe.
        family: name of the family.
        values: what it changes, by key of the recipe; for a parameter with names, the name.
        recipe: the whole recipe.
    """

    name: str
    family: str
    values: Mapping[str, Any]
    recipe: Recipe


class _ChangedValues(YamlValues):
    """The values of a variant; the line of a changed key is its line in the search."""

    origin: YamlValues
    places: Mapping[str, tuple[str, ...]]

    def line_of(self, place: Sequence[str | int], *, exact: bool = False) -> int | None:
        """Returns the line of a value in the family's file."""
        for key, own in self.places.items():
            if _leads_to(key.split("."), [str(part) for part in place]):
                return self.origin.line_of(own)
        return self.origin.line_of(place or (SEARCH_KEY,), exact=exact)


@dataclass(frozen=True)
class Family:
    """A recipe file with a search.

    Attributes:
        name: name of the file.
        source: the file, for messages.
        base: the recipe without the search, which variants change.
        search: the search.
        file: everything in the file, with its lines.
    """

    name: str
    source: str
    base: Mapping[str, Any]
    search: Search
    file: YamlValues = field(compare=False, repr=False)

    @property
    def fingerprint(self) -> str:
        """Equal for families whose variants can be compared: the recipe without what variants change."""
        return fingerprint({"base": self.base})

    def variant(self, values: Mapping[str, Any], name: str = "") -> Variant:
        """Returns the variant with some values.

        Args:
            values: values by key of the recipe; for a parameter with names, the name.
            name: its name in a list of variants.

        Raises:
            ConfigError: the search does not contain a value, or the variant is not a valid recipe; names file, variant,
                key and line.
        """
        search = self.search
        if isinstance(search, ListSearch):
            full = f"{self.name}-{name}"
            places: dict[str, tuple[str, ...]] = {key: (SEARCH_KEY, "variants", str(name), key) for key in values}
            changes = dict(values)
        else:
            full = variant_name(self.name, values, tuple(search.parameters))
            places = {key: (SEARCH_KEY, "parameters", key) for key in values}
            changes = {key: self._resolved(key, value) for key, value in values.items()}
        changed = _ChangedValues(with_values(self.base, changes))
        changed.origin, changed.places = self.file, places
        changed["name"] = full
        return Variant(full, self.name, dict(values), recipe_of(changed, source=f"{self.source}: variant {full}"))

    def refusal(self, message: str, *place: str) -> ConfigError:
        """Returns the error about a key of the file, with its line."""
        line = self.file.line_of(place)
        return ConfigError(f"{self.source}: {'.'.join(place)}: {message}{f' (line {line})' if line else ''}")

    def _resolved(self, key: str, value: Any) -> Any:
        assert not isinstance(self.search, ListSearch)  # noqa: S101  only the others have parameters
        parameter = self.search.parameters.get(key)
        if parameter is None or not contains(parameter, value):
            message = f"the search has no value {value!r} of this parameter"
            raise self.refusal(message, SEARCH_KEY, "parameters", key)
        return resolved(parameter, value)


def load_family(path: UPath) -> Family:
    """Returns the family in a recipe file with a search. Its variants are not made yet.

    Raises:
        ConfigError: the file is missing or wrong; names the file, the key and its line.
        RecipeError: the file contains another name.
        PartitionKeyError: the file's name cannot be a partition key.
    """
    values = read_recipe(path)
    if SEARCH_KEY not in values:
        message = f"{path}: no section {SEARCH_KEY}: this is one recipe"
        raise ConfigError(message)
    search = _search_of(values, str(path))
    base = {key: value for key, value in values.items() if key not in (SEARCH_KEY, "name")}
    return Family(path.stem, str(path), base, search, values)


def has_search(path: UPath) -> bool:
    """Returns whether a recipe file describes a search.

    Raises:
        ConfigError: the file cannot be read as a recipe.
    """
    return SEARCH_KEY in read_recipe(path)


def family_file(folder: UPath, name: str) -> UPath | None:
    """Returns the file of a recipe or, if it has none, the file whose variant it would be; None without either.

    Args:
        folder: the recipe files.
        name: name of a recipe.
    """
    own = folder / f"{name}.yaml"
    if own.exists():
        return own
    files = folder.glob("*.yaml") if folder.is_dir() else ()
    fitting = [path for path in files if name.startswith(f"{path.stem}-")]
    return max(fitting, key=lambda path: len(path.stem), default=None)


def listed_variants(family: Family) -> tuple[Variant, ...]:
    """Returns the variants that the file alone decides; none for a Bayesian search.

    Raises:
        ConfigError: a variant is not a valid recipe, or two are the same.
    """
    search = family.search
    if isinstance(search, BayesianSearch):
        return ()
    if isinstance(search, ListSearch):
        made = [family.variant(changes, name) for name, changes in search.variants.items()]
    else:
        combinations = _grid(search) if isinstance(search, GridSearch) else _random(search)
        made = [family.variant(values) for values in combinations]
    _check_all_differ(family, made)
    return tuple(made)


def with_values(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a nested mapping with some values replaced.

    Args:
        base: the mapping, which stays as it is.
        changes: values by their keys from the outside in, with dots between them; an element of a list by its number
            from 0.
    """
    changed = deepcopy(dict(base))
    for key, value in changes.items():
        *outer, last = key.split(".")
        part: Any = changed
        for name in outer:
            found = part[int(name)] if _is_place(part, name) else part.get(name)
            if not isinstance(found, dict | list):
                found = {}
                part[name] = found
            part = found
        if _is_place(part, last):
            part[int(last)] = deepcopy(value)
        elif isinstance(part, dict):
            part[last] = deepcopy(value)
    return changed


def _is_place(part: Any, name: str) -> bool:
    return isinstance(part, list) and name.isdecimal() and int(name) < len(part)


def _search_of(values: YamlValues, source: str) -> Search:
    where = f"{source}: {SEARCH_KEY}"
    if not isinstance(values[SEARCH_KEY], dict):
        message = f"{where}: expected a mapping with a method (line {values.line_of((SEARCH_KEY,))})"
        raise ConfigError(message)
    section = values.section(SEARCH_KEY)
    method = validate(section, SearchMethod, source=where).method
    return validate(section, SEARCHES[method], source=where)


def _grid(search: GridSearch) -> Iterator[dict[str, Any]]:
    listed = [values_of(parameter) or () for parameter in search.parameters.values()]
    for values in product(*listed):
        yield dict(zip(search.parameters, values, strict=True))


def _random(search: RandomSearch) -> Iterator[dict[str, Any]]:
    """Yields combinations that differ; the first ones do not depend on how many there are."""
    seen: list[dict[str, Any]] = []
    for number in range(search.n_variants):
        for attempt in range(N_DRAWS):
            values = {
                key: drawn(parameter, f"{search.seed}/{number}/{attempt}/{key}")
                for key, parameter in search.parameters.items()
            }
            if values not in seen:
                seen.append(values)
                yield values
                break


def _check_all_differ(family: Family, variants: Sequence[Variant]) -> None:
    by_content: dict[str, str] = {}
    names: set[str] = set()
    for variant in variants:
        content = fingerprint({"recipe": variant.recipe.model_dump(mode="json", exclude={"name"})})
        if content in by_content:
            message = (
                f"the variants {by_content[content]} and {variant.name} are the same recipe: remove one of the two"
            )
            raise family.refusal(message, SEARCH_KEY, *_place_of(family.search, variant))
        if variant.name in names:
            message = f"two variants are called {variant.name}: change the names of the values"
            raise family.refusal(message, SEARCH_KEY, *_place_of(family.search, variant))
        by_content[content] = variant.name
        names.add(variant.name)


def _place_of(search: Search, variant: Variant) -> tuple[str, ...]:
    if isinstance(search, ListSearch):
        return ("variants", variant.name.removeprefix(f"{variant.family}-"))
    return ("parameters",)


def _leads_to(key: Sequence[str], place: Sequence[str]) -> bool:
    """Whether a place is that of a key or below it; names in the place that are not keys are skipped."""
    left = iter(place)
    return bool(place) and key[0] == place[0] and all(part in left for part in key)
