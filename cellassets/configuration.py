"""YAML files that scientists edit, read into frozen pydantic models.

A wrong file is refused with its path, the key and its line, what was found and what was expected. The environment is
not read here.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

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


class _UniqueKeys(yaml.SafeLoader):
    """Reads YAML as `yaml.safe_load` does, but refuses a key that stands twice in one mapping."""

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
        loader = _UniqueKeys(path.read_text())
        node = loader.get_single_node()
        values = None if node is None else loader.construct_document(node)
    except FileNotFoundError as error:
        message = f"{path}: no such file; expected the YAML of a {model.__name__}"
        raise ConfigError(message) from error
    except ConnectionError:  # of an object store; says nothing about the file
        raise
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: cannot be read as a text file ({error}); expected the YAML of a {model.__name__}"
        raise ConfigError(message) from error
    except yaml.YAMLError as error:
        message = f"{path}: not valid YAML: {error}"
        raise ConfigError(message) from error
    if values is not None and not isinstance(values, dict):
        return values
    found = YamlValues(values or {})
    found.node = node
    return found


def validate(values: Any, model: type[ParametersT], *, source: str, **defaults: Any) -> ParametersT:
    """Returns `values` as `model`, or a `ConfigError` that names `source` and every wrong key."""
    if not isinstance(values, dict):
        message = f"{source}: expected a mapping of a {model.__name__}'s keys, found {type(values).__name__}"
        raise ConfigError(message)
    try:
        return model.model_validate({**defaults, **values})
    except ValidationError as error:
        lines = [_explained(each, model) + _in_line(values, each) for each in error.errors()]
        message = f"{source}: not a valid {model.__name__}: " + "; ".join(lines)
        raise ConfigError(message) from error


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


def _explained(error: "ErrorDetails", model: type[BaseModel]) -> str:
    """Returns one error with its place, and what was found or which keys there are."""
    place = "".join(f"{part}." for part in error["loc"])[:-1]
    before, words = f"{place}: " if place else "", error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
        similar = get_close_matches(place, model.model_fields, n=1)
        meant = f" (did you mean {similar[0]}?)" if similar else ""
        return f"{before}unknown key{meant}; the keys are {', '.join(model.model_fields)}"
    if error["type"] == "union_tag_invalid":
        context = error["ctx"]
        words = f"no {context['discriminator'].strip(chr(39))} {context['tag']!r}; expected {context['expected_tags']}"
        return before + words
    if error["type"] == "missing":
        return f"{before}this key is missing"
    if isinstance(error["input"], str | int | float) and error["type"] not in ("extra_forbidden", "value_error"):
        return f"{before}{words}; found {error['input']!r}"
    return before + words
