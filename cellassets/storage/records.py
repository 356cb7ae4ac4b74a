"""The rows of the catalogue in memory, kept up to date by reading only the changes.

This module never reads the lake.
"""

from collections.abc import Iterator
from functools import lru_cache
from threading import Lock

from cellassets.errors import ArtifactMissing
from cellassets.storage.artifact import describe_address
from cellassets.storage.catalogue import Address, Catalogue
from cellassets.storage.plan import Publication

__all__ = ["Address", "Records", "current_records", "parents_of"]
_reading = Lock()


class Records:
    """The current publication of every address.

    `n_rows_read` counts the catalogue's rows that were read since this object was made.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._identity = ""
        self._sequence = 0
        self._found: dict[Address, Publication] = {}
        self._children: dict[Address, dict[str, int]] = {}
        self.n_rows_read = 0

    def refresh(self) -> set[Address]:
        """Returns the addresses that changed since the last call, after reading their rows."""
        state = self._catalogue.state()
        changed: set[Address] = set()
        is_behind = state.sequence < self._sequence  # it was restored from a backup
        if is_behind or state.identity != self._identity:  # another catalogue, or one that was created again
            changed.update(self._found)
            self._found, self._children = {}, {}
            self._identity, self._sequence = state.identity, 0
        if state.sequence == self._sequence:
            return changed
        rows = self._catalogue.since(self._sequence)
        self.n_rows_read += len(rows)
        for row in rows:
            changed.add((row.kind, row.keys))
            self._set(row)
        self._sequence = state.sequence
        return changed

    def find(self, kind: str, *keys: str) -> Publication | None:
        """Returns the current publication at an address, None where there is none."""
        return self._found.get((kind, keys))

    def need(self, kind: str, *keys: str) -> Publication:
        """Returns the current publication at an address.

        Raises:
            ArtifactMissing: there is none.
        """
        found = self.find(kind, *keys)
        if found is None:
            message = f"{describe_address(kind, keys)} is not published; materialise this partition first"
            raise ArtifactMissing(message)
        return found

    def keys(self, kind: str, *parents: str) -> tuple[str, ...]:
        """Returns the keys one level below a kind and its leading keys, sorted."""
        return tuple(sorted(self._children.get((kind, parents), ())))

    def copy(self) -> "Records":
        """Returns records that stay as they are now when these are refreshed."""
        copied = Records(self._catalogue)
        copied._identity, copied._sequence = self._identity, self._sequence
        copied._found = dict(self._found)
        copied._children = {address: dict(children) for address, children in self._children.items()}
        return copied

    def __iter__(self) -> Iterator[Publication]:
        return iter(self._found.values())

    def _set(self, row: Publication) -> None:
        address = (row.kind, row.keys)
        was_there = address in self._found
        if row.generation:
            self._found[address] = row
        else:
            self._found.pop(address, None)
        step = (address in self._found) - was_there
        if step:
            for depth, key in enumerate(row.keys):
                children = self._children.setdefault((row.kind, row.keys[:depth]), {})
                children[key] = children.get(key, 0) + step
                if not children[key]:
                    del children[key]


def current_records(catalogue: Catalogue) -> Records:
    """Returns what is published now. A process reads a catalogue in full once, later only what changed.

    Without this, every partition of a run would read all rows of a large lake again.
    """
    with _reading:
        records = _kept(catalogue)
        records.refresh()
        return records.copy()


@lru_cache(maxsize=4)
def _kept(catalogue: Catalogue) -> Records:
    return Records(catalogue)


def parents_of(address: Address) -> Iterator[Address]:
    """Yields the listings (kind and leading keys) that contain an address."""
    kind, keys = address
    for depth in range(len(keys)):
        yield kind, keys[:depth]
