"""Values that are computed from cells and from one another, and computed again only when what they read has changed.

A cell is anything outside whose changes somebody reports: a published record, a settings file, the list of models. A
node is a function with its arguments. While a node is computed it notes what it reads. After `changed(cells)` the
nodes that read these cells, directly or through others, are suspect; a suspect node that is asked for is computed
again only if something that it read really has another value now. The cost of a change is therefore the number of nodes
that depend on it.

    graph = Incremental()
    graph.value(total, prices)     # calls total(prices), which calls graph.read("price of A") and so on
    graph.changed(["price of A"])
    graph.value(total, prices)     # calls total again
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from cellassets.errors import CellAssetsError

T = TypeVar("T")
Node = tuple[Callable[..., Any], tuple[Hashable, ...]]


@dataclass(slots=True)
class _Result:
    """What a node gave: a value or a refusal, what it read, and the revisions of its last change and last check."""

    value: Any
    error: CellAssetsError | None
    reads: tuple[Hashable, ...]
    changed_at: int
    checked_at: int

    def equals(self, other: "_Result") -> bool:
        if self.error is not None or other.error is not None:
            return type(self.error) is type(other.error) and str(self.error) == str(other.error)
        return bool(self.value == other.value)


class Incremental:
    """The graph of what was computed from what.

    A refusal (`CellAssetsError`) is kept like a value and raised again; any other error is raised and not kept.
    `n_computed` counts the nodes that were computed since this object was made.
    """

    def __init__(self) -> None:
        self._results: dict[Node, _Result] = {}
        self._readers: dict[Hashable, set[Node]] = {}
        self._changed_at: dict[Hashable, int] = {}
        self._suspects: set[Node] = set()
        self._reading: list[dict[Hashable, None]] = []
        self._names: dict[Hashable, Hashable] = {}  # one object per equal name: nodes are read a million times
        self._revision = 0
        self.n_computed = 0

    def read(self, cell: Hashable) -> None:
        """Notes that the node that is being computed reads a cell."""
        if self._reading:
            self._reading[-1][self._names.setdefault(cell, cell)] = None

    def value(self, function: Callable[..., T], *arguments: Hashable) -> T:
        """Returns what a node gives, computing it only where that is needed.

        Raises:
            CellAssetsError: the node refuses.
        """
        node = (function, arguments)
        self.read(node)
        result = self._settled(node)
        if result.error is not None:
            raise result.error.with_traceback(None)
        return result.value  # type: ignore[no-any-return]

    def changed(self, cells: Iterable[Hashable]) -> None:
        """Notes that cells may have other values now."""
        self._revision += 1
        pending: list[Hashable] = []
        for cell in cells:
            self._changed_at[cell] = self._revision
            pending.append(cell)
        while pending:
            for reader in self._readers.get(pending.pop(), ()):
                if reader not in self._suspects:
                    self._suspects.add(reader)
                    pending.append(reader)

    def _settled(self, node: Node) -> _Result:
        result = self._results.get(node)
        if result is None:
            return self._compute(node, None)
        if node not in self._suspects:
            return result
        if any(self._is_newer(name, result.checked_at) for name in result.reads):
            return self._compute(node, result)
        self._suspects.discard(node)
        result.checked_at = self._revision
        return result

    def _is_newer(self, name: Hashable, checked_at: int) -> bool:
        """True where something that was read has another value than at a revision."""
        if name in self._results:
            return self._settled(name).changed_at > checked_at  # type: ignore[arg-type]
        return self._changed_at.get(name, 0) > checked_at

    def _compute(self, node: Node, before: _Result | None) -> _Result:
        self._reading.append({})
        value, error = None, None
        try:
            value = node[0](*node[1])
        except CellAssetsError as refusal:
            error = refusal.with_traceback(None)
        finally:
            reads = tuple(self._reading.pop())
        self.n_computed += 1
        result = _Result(value, error, reads, self._revision, self._revision)
        if before is not None and before.equals(result):
            result.changed_at = before.changed_at
        self._set_reads(node, () if before is None else before.reads, reads)
        self._results[node] = result
        self._suspects.discard(node)
        return result

    def _set_reads(self, node: Node, before: tuple[Hashable, ...], after: tuple[Hashable, ...]) -> None:
        node = self._names.setdefault(node, node)  # type: ignore[assignment]
        for name in set(before) - set(after):
            self._readers[name].discard(node)
        for name in after:
            self._readers.setdefault(name, set()).add(node)
