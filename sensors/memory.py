"""What a sensor remembers from tick to tick, in its cursor. If the cursor is lost or damaged, nothing is done twice.

What was asked for, and how it ended, is in Dagster's runs (`sensors.attempts`).
"""

import json
from dataclasses import dataclass, field


@dataclass
class Memory:
    """Content of a cursor.

    Attributes:
        reported: the version of each external partition that was reported last, shortened.
        first_seen: when each unmarked landing folder was first seen with its present content: signature and time.
        since: times of events, by name.
    """

    reported: dict[str, str] = field(default_factory=dict)
    first_seen: dict[str, tuple[str, str]] = field(default_factory=dict)
    since: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, cursor: str | None) -> "Memory":
        """Returns the content of a cursor; empty if this version cannot read it."""
        try:
            values = json.loads(cursor or "{}")
            return cls(
                reported=dict(values.get("reported", {})),
                first_seen={name: (seen[0], seen[1]) for name, seen in values.get("first_seen", {}).items()},
                since=dict(values.get("since", {})),
            )
        except (ValueError, AttributeError, TypeError, IndexError, KeyError):
            return cls()

    def text(self) -> str:
        """Returns the cursor."""
        values = {
            "reported": self.reported,
            "first_seen": self.first_seen,
            "since": self.since,
        }
        return json.dumps({name: value for name, value in values.items() if value}, sort_keys=True)
