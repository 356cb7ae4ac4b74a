"""Checks what people declare about a model from elsewhere, before the registry stores it.

A name that is misspelt would count as never seen, and the model would be scored on wells that it was trained on. So
names are compared with the experiments and cell types that landed here. `cellassets.registry.lineage` says what a
declaration means.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from upath import UPath

from cellassets.configuration import load_yaml
from cellassets.errors import ConfigError
from cellassets.fingerprint import KEY_PATTERN
from cellassets.registry import Registry
from cellassets.registry.lineage import TrainedOn, declared, seen_by
from cellassets.stages.datasets import cell_types_of, landed_experiments
from cellassets.stages.snapshot import Snapshot

SUBSTANCE = ("experiments", "cell_types", "parents")
N_NAMED = 20  # names that a message lists
N_SIMILAR = 3


@dataclass(frozen=True)
class Change:
    """What a declaration changed.

    Attributes:
        before: what the model had seen as far as declared before, in words.
        now: the same after the declaration.
        from_elsewhere: one line for each name that nothing here has.
    """

    before: str
    now: str
    from_elsewhere: tuple[str, ...]


def declare(snapshot: Snapshot, key: str, file: UPath, *, has_elsewhere: bool = False) -> Change:
    """Declares what a registered model was trained on, as a file says it.

    Args:
        snapshot: the registered models and what landed.
        key: the model.
        file: YAML file with a `TrainedOn`.
        has_elsewhere: accept names of experiments that did not land here, and of cell types that differ from one that
            landed only in case, blanks or punctuation.

    Raises:
        ConfigError: the file is wrong, says nothing, or has names that are wrong or not known here.
        RegistryError: the model is not registered, or may not be declared.
    """
    trained_on = read_declaration(file)
    unknown = (*unknown_experiments(snapshot, trained_on), *respelt_cell_types(snapshot, trained_on))
    if unknown and not has_elsewhere:
        message = (
            f"{file}: {_first(unknown)}. Correct the names, or add --elsewhere if they are right and the images are "
            "not from here"
        )
        raise ConfigError(message)
    deployment = snapshot.deployment
    registry = Registry(deployment.tracking_uri, deployment.model_root)
    before = _in_words(registry, key)
    registry.declare(key, trained_on)
    return Change(before, _in_words(registry, key), unknown)


def read_declaration(file: UPath) -> TrainedOn:
    """Returns what a file declares.

    Raises:
        ConfigError: the file is wrong, says nothing, or has names that nothing can have.
    """
    trained_on = load_yaml(file, TrainedOn)
    if not trained_on.model_fields_set & set(SUBSTANCE):
        found = ", ".join(sorted(trained_on.model_fields_set)) or "nothing"
        message = (
            f"{file}: declares {found}; expected at least one of {', '.join(SUBSTANCE)}. Write `experiments: []` for "
            "a model that nothing was trained for"
        )
        raise ConfigError(message)
    problems = tuple(_wrong_names(trained_on))
    if problems:
        message = f"{file}: {_first(problems)}; correct the names"
        raise ConfigError(message)
    return trained_on


def unknown_experiments(snapshot: Snapshot, trained_on: TrainedOn) -> tuple[str, ...]:
    """Returns a line for each declared experiment that did not land, with the nearest names of those that did."""
    landed = snapshot.keys("raw_plates")
    names = dict.fromkeys((*trained_on.experiments, *trained_on.validation_experiments))
    missing = [name for name in names if name not in set(landed)]
    return tuple(f"experiment {name!r} did not land here ({nearest(name, landed)})" for name in missing)


def respelt_cell_types(snapshot: Snapshot, trained_on: TrainedOn) -> tuple[str, ...]:
    """Returns a line for each declared cell type that is one that landed in another spelling."""
    landed = {kind for name in landed_experiments(snapshot) for kind in cell_types_of(snapshot, name)}
    by_letters = {_letters(kind): kind for kind in sorted(landed)}
    return tuple(
        f"cell type {name!r} is written {by_letters[_letters(name)]!r} here"
        for name in trained_on.cell_types
        if name not in landed and _letters(name) in by_letters
    )


def _wrong_names(trained_on: TrainedOn) -> Iterator[str]:
    for field, names in trained_on:
        for name, n_listed in Counter(names or ()).items():
            if not name.strip() or name != name.strip():
                yield f"{field}: {name!r} is empty or has blanks at its ends"
            elif field.endswith("experiments") and not KEY_PATTERN.fullmatch(name):
                yield f"{field}: {name!r} cannot be an experiment; expected letters, digits, '_', '-' and '.'"
            if n_listed > 1:
                yield f"{field}: {name!r} is listed {n_listed} times, expected once"


def nearest(name: str, landed: tuple[str, ...]) -> str:
    """Returns the most similar names, whatever their case; without any, the first that landed."""
    by_case = {known.casefold(): known for known in landed}
    similar = get_close_matches(name.casefold(), by_case, n=N_SIMILAR)
    if similar:
        return f"similar: {', '.join(by_case[one] for one in similar)}"
    return f"landed: {_first(landed, ', ')}" if landed else "nothing landed yet"


def _letters(name: str) -> str:
    """The letters and digits of a name, without their case."""
    return "".join(character for character in name.casefold() if character.isalnum())


def _first(lines: tuple[str, ...], separator: str = "; ") -> str:
    more = f"{separator}and {len(lines) - N_NAMED} more" if len(lines) > N_NAMED else ""
    return separator.join(lines[:N_NAMED]) + more


def _in_words(registry: Registry, key: str) -> str:
    known = {entry.key: declared(entry) for entry in registry.list_models()}
    return seen_by(key, known).in_words()
