"""YAML files that scientists edit, read into frozen pydantic models.

A wrong file is refused with its path, the key and its line, what was found and what was expected. The environment is
not read here.
"""

import math
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from upath import UPath

from cellassets.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Parameters(BaseModel):
    """Base of all science parameters: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def added_field(default: Any, *, description: str, **limits: Any) -> Any:
    """Returns a field for a model of which files exist already: a dump leaves it out while it has its default.

    So parameters that do not set it keep the fingerprint that they had before the field was added, and nothing that was
    made from them is made again.

    Args:
        default: what files that do not set the field mean. It must stay the same for ever.
        description: as for any field.
        limits: further arguments of `pydantic.Field`, such as `ge`.
    """
    return Field(default=default, description=description, exclude_if=lambda value: value == default, **limits)


def all_values(given: Any) -> Any:
    """Returns parameters as JSON-like values, with every default: also those that a dump leaves out."""
    if isinstance(given, BaseModel):
        return {name: all_values(getattr(given, name)) for name in type(given).model_fields}
    if isinstance(given, dict):
        return {key: all_values(value) for key, value in given.items()}
    return [all_values(value) for value in given] if isinstance(given, list | tuple) else given


ParametersT = TypeVar("ParametersT", bound=BaseModel)
KEY = re.compile(r"[a-z][a-z0-9_.]*[a-z0-9]")
MAX_NODES = 1_000_000  # of a file, with every alias written out: a few lines of aliases can stand for billions
PLAIN = {  # pydantic's kinds of errors whose own words name types of Python
    "missing": "this key is missing",
    "tuple_type": "expected a list, such as [a, b]",
    "list_type": "expected a list, such as [a, b]",
    "dict_type": "expected a mapping, such as {key: value}",
    "model_type": "expected a mapping, such as {key: value}",
    "model_attributes_type": "expected a mapping, such as {key: value}",
}

# kinds of errors whose message has the value that was found, or needs none
COMPLETE = ("value_error", "union_tag_invalid", "union_tag_not_found", "missing", "too_short", "json_invalid")


class _UniqueKeys(yaml.SafeLoader):
    """Reads YAML as `yaml.safe_load` does, but refuses a key that stands twice, and an alias of what it stands in."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._around: list[yaml.Node | None] = []

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        self._around.append(parent)
        node: yaml.Node | None = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent) and any(node is outer for outer in self._around):
            message = f"line {line}: *{event.anchor} stands inside of &{event.anchor}: remove it"
            raise yaml.YAMLError(message)
        self._around.pop()
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            place = (key.tag, str(key.value))
            line = key.start_mark.line + 1
            if place in lines:
                message = f"line {line}: the key {key.value!r} is in line {lines[place]} already; remove one of the two"
                raise yaml.YAMLError(message)
            lines[place] = line
        return node


def _plain_number(loader: _UniqueKeys, node: yaml.ScalarNode) -> Any:
    """Returns a number; 1:30 stays text, although YAML 1.1 counts it in sixties, because a person means a time."""
    if ":" in str(node.value):
        return node.value
    is_integer = node.tag.endswith(":int")
    construct: Any = loader.construct_yaml_int if is_integer else loader.construct_yaml_float
    return construct(node)


_UniqueKeys.add_constructor("tag:yaml.org,2002:int", _plain_number)
_UniqueKeys.add_constructor("tag:yaml.org,2002:float", _plain_number)


class YamlValues(dict[str, Any]):
    """The mapping in a YAML file, with the lines of its keys for messages about them.

    Attributes:
        node: the same mapping as YAML's parser sees it; None for a mapping that is not from a file.
    """

    node: yaml.Node | None = None

    def line_of(self, place: Sequence[str | int], *, exact: bool = False) -> int | None:
        """Returns the line of a value, or of the innermost mapping around it that the file contains.

        Args:
            place: keys and indices from the outside in. A name that is not a key, such as the kind of a union, is
                skipped.
            exact: None is returned if the file does not contain the last part of the place.
        """
        node, line, is_found = self.node, None, False
        for part in place:
            is_found = False
            if isinstance(node, yaml.MappingNode):
                found = [(key, value) for key, value in node.value if key.value == str(part)]
                if found:
                    line, node, is_found = found[0][0].start_mark.line + 1, found[0][1], True
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line, is_found = node.start_mark.line + 1, True
        return line if is_found or not exact else None

    def section(self, key: str) -> "YamlValues":
        """Returns the mapping below a key, with its lines."""
        found = YamlValues(self[key])
        if isinstance(self.node, yaml.MappingNode):
            found.node = next((value for name, value in self.node.value if name.value == key), None)
        return found


def load_yaml(path: UPath, model: type[ParametersT], **defaults: Any) -> ParametersT:
    """Returns the YAML file at `path` as `model`.

    Args:
        path: a YAML file that holds one mapping.
        model: the pydantic model to validate it with.
        defaults: values for keys that the file does not set (such as a name taken from the file's name).

    Raises:
        ConfigError: the file is missing, is no YAML mapping, has a key twice, or does not fit the model.
    """
    return validate(read_yaml(path, model), model, source=str(path), **defaults)


def read_yaml(path: UPath, model: type[BaseModel]) -> Any:
    """Returns what a YAML file contains: `YamlValues` for a mapping, and an empty one for an empty file.

    Raises:
        ConfigError: the file is missing, is no YAML, or has a key twice; names the model that was expected.
    """
    try:
        node, values = _parsed(path.read_text())
    except FileNotFoundError as error:
        message = f"{path}: no such file; expected the YAML of a {model.__name__}"
        raise ConfigError(message) from error
    except ConnectionError:  # of an object store; says nothing about the file
        raise
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: cannot be read as a text file ({error}); expected the YAML of a {model.__name__}"
        raise ConfigError(message) from error
    except RecursionError as error:
        message = f"{path}: not valid YAML: lists and mappings stand inside of each other, hundreds deep"
        raise ConfigError(message) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: such as 2020-13-01, which looks like a date
        message = f"{path}: not valid YAML: {error}"
        raise ConfigError(message) from error
    if values is not None and not isinstance(values, dict):
        return values
    found = YamlValues(values or {})
    found.node = node
    return found


def _parsed(text: str) -> tuple[yaml.Node | None, Any]:
    """Returns the mapping in a text as YAML's parser sees it, and its values."""
    loader = _UniqueKeys(text)
    node = loader.get_single_node()
    if node is None:
        return None, None
    if _n_nodes(node, {}) > MAX_NODES:
        message = f"its aliases stand for more than {MAX_NODES:,} values: write out what is meant"
        raise yaml.YAMLError(message)
    return node, loader.construct_document(node)


def _n_nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """How many nodes there are with every alias written out."""
    if id(node) not in known:
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        inner = (part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,)))
        known[id(node)] = 1 + sum(_n_nodes(part, known) for part in inner)
    return known[id(node)]


def validate(values: Any, model: type[ParametersT], *, source: str, **defaults: Any) -> ParametersT:
    """Returns `values` as `model`, or a `ConfigError` that names `source` and every wrong key.

    Numbers of a file must be finite: an infinite or missing number (`.inf`, `.nan`) is refused.
    """
    if not isinstance(values, dict):
        message = f"{source}: expected a mapping of a {model.__name__}'s keys, found {type(values).__name__}"
        raise ConfigError(message)
    try:
        made = model.model_validate({**defaults, **values})
    except ValidationError as error:
        lines = [_explained(each, model) + _in_line(values, each) for each in _causes(error)]
        message = f"{source}: not a valid {model.__name__}: " + "; ".join(lines)
        raise ConfigError(message) from error
    if isinstance(values, YamlValues):
        _check_numbers(made, model, values, source)
    return made


def in_words(error: ValidationError, model: type[BaseModel]) -> str:
    """Returns what is wrong with values that do not fit a model: every wrong key, and what was found or expected."""
    return "; ".join(_explained(each, model) for each in _causes(error))


def _check_numbers(made: BaseModel, model: type[BaseModel], values: YamlValues, source: str) -> None:
    """Refuses infinite and missing numbers, and true and false where a number is expected."""
    found = all_values(made)
    for place, number in (*_not_finite(found, ()), *_truth_values(dict(values), found, ())):
        line = values.line_of(place)
        where = ".".join(str(part) for part in place)
        expected = "a number" if isinstance(number, str) else "a finite number"
        message = (
            f"{source}: not a valid {model.__name__}: {where}: found {number}; expected {expected}"
            f"{f' (line {line})' if line else ''}"
        )
        raise ConfigError(message)


def _not_finite(given: Any, place: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], float]]:
    """Yields the places of numbers that are infinite or missing, with the numbers."""
    if isinstance(given, float) and not math.isfinite(given):
        yield place, given
    if isinstance(given, dict | list):
        for key, value in given.items() if isinstance(given, dict) else enumerate(given):
            yield from _not_finite(value, (*place, key))


def _truth_values(given: Any, made: Any, place: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yields the places at which a file has true or false and a model has made a number of it, with the word."""
    if isinstance(given, bool) and isinstance(made, int | float) and not isinstance(made, bool):
        yield place, str(given).lower()
    if isinstance(given, dict) and isinstance(made, dict):
        for key in given.keys() & made.keys():
            yield from _truth_values(given[key], made[key], (*place, key))
    if isinstance(given, list) and isinstance(made, list) and len(given) == len(made):
        for number, (one, other) in enumerate(zip(given, made, strict=True)):
            yield from _truth_values(one, other, (*place, number))


def _causes(error: ValidationError) -> "list[ErrorDetails]":
    """Returns the errors but those that only follow: a list of which every value is wrong is not empty as well."""
    errors = error.errors()
    outer = {each["loc"][:-1] for each in errors}
    return [each for each in errors if each["type"] != "too_short" or each["loc"] not in outer]


def _in_line(values: dict[str, Any], error: "ErrorDetails") -> str:
    """Returns the line of an error in its file, in brackets; nothing where that is not known.

    Where keys contradict each other, it is the line of the first key that the message names.
    """
    if not isinstance(values, YamlValues):
        return ""
    line = values.line_of(error["loc"])
    if error["type"] == "value_error":
        named = (values.line_of((*error["loc"], *word.split(".")), exact=True) for word in KEY.findall(error["msg"]))
        line = next((found for found in named if found is not None), line)
    return "" if line is None else f" (line {line})"


def _in_words(error: "ErrorDetails", words: str) -> str:
    """Returns what an error means, without types of Python; the given words where they say it already."""
    context = error.get("ctx", {})
    if error["type"] == "union_tag_invalid":
        return f"no {context['discriminator'].strip(chr(39))} {context['tag']!r}; expected {context['expected_tags']}"
    if error["type"] == "union_tag_not_found":
        return f"the key {context['discriminator'].strip(chr(39))} is missing"
    if error["type"] == "too_short":
        return f"found {context['actual_length']} values; expected at least {context['min_length']}"
    return PLAIN.get(error["type"], words)


def _keys_at(model: type[BaseModel], place: Sequence[str | int]) -> tuple[str, ...]:
    """The keys of the section at a place; none where its model depends on other keys, such as `kind`."""
    for part in place:
        field = model.model_fields.get(str(part))
        options = () if field is None else (field.annotation, *get_args(field.annotation))
        models = [one for one in options if isinstance(one, type) and issubclass(one, BaseModel)]
        if len(models) != 1:
            return ()
        model = models[0]
    return tuple(model.model_fields)


def _explained(error: "ErrorDetails", model: type[BaseModel]) -> str:
    """Returns one error with its place, and what was found or which keys there are."""
    place = "".join(f"{part}." for part in error["loc"])[:-1]
    before, words = f"{place}: " if place else "", error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        keys = _keys_at(model, error["loc"][:-1])
        similar = get_close_matches(str(error["loc"][-1]), keys, n=1)
        meant = f" (did you mean {similar[0]}?)" if similar else ""
        return f"{before}unknown key{meant}{'; the keys are ' if keys else ''}{', '.join(keys)}"
    words = _in_words(error, words)
    if isinstance(error["input"], str | int | float) and error["type"] not in COMPLETE:
        return f"{before}{words}; found {error['input']!r}"
    return before + words
