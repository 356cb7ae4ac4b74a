"""Path templates: `{plate}/{well}_s{site}_w{channel}.png` describes where images are and what their names mean.

A template is matched against paths below an experiment's folder, with '/' between the names. A field is written
`{name}` or, with a regular expression of its own, `{name:expression}`; the field `_` means nothing. `*` stands for any
characters within one name.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cellassets.errors import ConfigError

NUMBER = "[0-9]{1,5}"  # of a site, a channel or a plane
EXPRESSIONS = {"well": "[A-Za-z]{1,2}[0-9]{1,3}", "row": NUMBER, "column": NUMBER, "site": NUMBER, "z": NUMBER,
               "time": NUMBER, "channel": NUMBER}  # fmt: skip
NOTHING = "_"  # a field that is not kept
FIELDS = ("experiment", "plate", "well", "row", "column", "site", "channel", "z", "time", NOTHING)
ANY = "[^/]+"
OWN_EXPRESSION = r"\{(\w+):(?:[^{}]|\{[^{}]*\})*\}"


@dataclass(frozen=True)
class Template:
    """A compiled path template.

    Attributes:
        text: the template as written.
        parts: one regular expression for each name of the path.
        fields: names of the fields, in order.
    """

    text: str
    parts: tuple[re.Pattern[str], ...]
    fields: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The template for people, without regular expressions."""
        return re.sub(r"\{(\w+):(?:[^{}]|\{[^{}]*\})*\}", lambda match: f"{{{match[1]}}}", self.text).replace(
            "{_}", "*"
        )

    def match(self, path: str) -> dict[str, str] | None:
        """Returns the value of each field in a path; None if the path does not match."""
        names = path.split("/")
        if len(names) != len(self.parts):
            return None
        found: dict[str, str] = {}
        for expression, name in zip(self.parts, names, strict=True):
            match = expression.fullmatch(name)
            if match is None:
                return None
            for field, value in _values(match):
                if found.setdefault(field, value) != value:  # one field twice, with two values
                    return None
        return found


def compile_template(text: str, *, extra_fields: Mapping[str, str] | None = None) -> Template:
    """Returns a compiled template.

    Args:
        text: the template.
        extra_fields: regular expressions of fields beyond the usual ones, by name.

    Raises:
        ConfigError: a bracket is open, a field is unknown, or an expression is not valid.
    """
    known = {**dict.fromkeys(FIELDS, ANY), **EXPRESSIONS, **(extra_fields or {})}
    parts, fields = [], []
    for part in _split(text):
        expression, names = _expression(part, text, known)
        try:
            parts.append(re.compile(expression))
        except re.error as error:
            message = f"{text!r}: {part!r} holds no valid regular expression ({error})"
            raise ConfigError(message) from error
        fields += names
    return Template(text, tuple(parts), tuple(dict.fromkeys(fields)))


def _split(text: str) -> list[str]:
    """Returns the names of a path template, which are separated by '/' outside of braces."""
    parts, depth, part = [], 0, ""
    for character in text:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "/" and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += character
    return [*parts, part]


def _expression(part: str, text: str, known: Mapping[str, str]) -> tuple[str, list[str]]:
    expression, position = "", 0
    names: list[str] = []
    while position < len(part):
        character = part[position]
        if character == "{":
            end = _closing(part, position, text)
            name, _, own = part[position + 1 : end].partition(":")
            if name not in known:
                message = f"{text!r}: unknown field {name!r}; the fields are {', '.join(known)}"
                raise ConfigError(message)
            if name == NOTHING:
                expression += f"(?:{own or ANY})"
            else:
                group = f"{name}__{names.count(name)}" if name in names else name
                expression += f"(?P<{group}>{own or known[name]})"
                names.append(name)
            position = end
        elif character == "*":
            expression += "[^/]*"
        else:
            expression += re.escape(character)
        position += 1
    return expression, names


def _closing(part: str, start: int, text: str) -> int:
    depth = 0
    for position in range(start, len(part)):
        depth += {"{": 1, "}": -1}.get(part[position], 0)
        if depth == 0:
            return position
    message = f"{text!r}: the bracket at {part[start:]!r} is not closed"
    raise ConfigError(message)


def _values(match: re.Match[str]) -> Iterator[tuple[str, str]]:
    for group, value in match.groupdict().items():
        if value is not None:
            yield group.partition("__")[0], value
