"""What a sensor remembers from tick to tick, in its cursor. If the cursor is lost or damaged, nothing is done twice.

What was asked for, and how it ended, is in Dagster's runs (`sensors.attempts`).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass
class Memory:
    """Content of a cursor.

    Attributes:
        reported: the versions of external partitions that the last tick reported, shortened (`sensors.reported`).
        first_seen: when each landing folder that is not published as it is was first seen with its present content:
            signature and time.
        since: times of events, by name.
    """

    reported: dict[str, str] = field(default_factory=dict)
    first_seen: dict[str, tuple[str, str]] = field(default_factory=dict)
    since: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, cursor: str | None) -> "Memory":
        """Returns the content of a cursor. What is damaged is left out, which costs a full look and nothing else."""
        try:
            values = json.loads(cursor or "{}")
        except ValueError:
            values = {}
        return cls(
            reported=_those(values, "reported", _is_text),
            first_seen={name: (seen[0], seen[1]) for name, seen in _those(values, "first_seen", _is_seen).items()},
            since=_those(values, "since", _is_time),
        )

    def text(self) -> str:
        """Returns the cursor."""
        values = {"reported": self.reported, "first_seen": self.first_seen, "since": self.since}
        return json.dumps({name: value for name, value in values.items() if value}, sort_keys=True)


def _those(values: Any, name: str, is_valid: Callable[[Any], bool]) -> dict[str, Any]:
    found = values.get(name) if isinstance(values, dict) else None
    return {key: value for key, value in found.items() if is_valid(value)} if isinstance(found, dict) else {}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _is_seen(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _is_text(value[0]) and _is_time(value[1])
