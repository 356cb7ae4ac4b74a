"""Values that are computed from cells and from one another, and computed again only when what they read has changed.

A cell is anything outside whose changes somebody reports: a published record, a settings file, the list of models. A
node is a function with its arguments. While a node is computed it notes what it reads. After `changed(cells)` the
nodes that read these cells, directly or through others, are suspect. A suspect node that is asked for is computed
again only if something that it read really has another value now. The cost of a change is therefore the number of nodes
that depend on it.

A cell has to be reported as changed whenever its value may differ from what a node saw, and a node must read nothing
that is neither a cell nor a node. Values are compared with `==`, so nobody may change them afterwards.

    graph = Incremental()
    graph.value(total, prices)     # calls total(prices), which calls graph.read("price of A") and so on
    graph.changed(["price of A"])
    graph.value(total, prices)     # calls total again
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

from cellassets.errors import CellAssetsError

T = TypeVar("T")


class _Cell:
    """Something that nodes read, and the revision in which it changed last.

    Compared by identity: a tick looks at a million of them, and the hash of a nested tuple costs more than the rest.
    """

    __slots__ = ("changed_at", "name", "readers")

    def __init__(self, name: Hashable) -> None:
        self.name = name
        self.changed_at = 0
        self.readers: set[_Node] = set()


class _Node(_Cell):
    """A function with its arguments: what it gave (a value or a refusal), and what it read."""

    __slots__ = ("checked_at", "error", "is_known", "is_suspect", "reads", "value")

    def __init__(self, name: Hashable) -> None:
        super().__init__(name)
        self.value: Any = None
        self.error: CellAssetsError | None = None
        self.reads: tuple[_Cell, ...] = ()
        self.is_known = False
        self.is_suspect = False
        self.checked_at = 0

    def gave(self, value: Any, error: CellAssetsError | None) -> bool:
        """True where this is what the node gave when it was computed last."""
        if not self.is_known:
            return False
        if self.error is None or error is None:
            return self.error is error and bool(self.value == value)
        is_same_kind = type(self.error) is type(error) and str(self.error) == str(error)
        return is_same_kind and vars(self.error) == vars(error)


class Incremental:
    """The graph of what was computed from what.

    A refusal (`CellAssetsError`) is kept like a value and raised again; any other error is raised and not kept.
    `n_computed` counts the nodes that were computed since this object was made.
    """

    def __init__(self) -> None:
        self._cells: dict[Hashable, _Cell] = {}
        self._nodes: dict[Hashable, _Node] = {}
        self._reading: list[dict[_Cell, None]] = []
        self._asked: set[_Node] = set()  # from outside, since the last `collect`
        self._revision = 0
        self.n_computed = 0

    def __len__(self) -> int:
        """Number of nodes whose results are kept."""
        return len(self._nodes)

    def read(self, cell: Hashable) -> None:
        """Notes that the node that is being computed reads a cell."""
        if self._reading:
            entry = self._cells.get(cell)
            if entry is None:
                entry = self._cells[cell] = _Cell(cell)
            self._reading[-1][entry] = None

    def value(self, function: Callable[..., T], *arguments: Hashable) -> T:
        """Returns what a node gives, computing it only where that is needed.

        Raises:
            CellAssetsError: the node refuses.
        """
        name = (function, arguments)
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = _Node(name)
        if self._reading:
            self._reading[-1][node] = None
        else:
            self._asked.add(node)
        if node.is_suspect or not node.is_known:
            self._settle(node)
        if node.error is not None:
            raise node.error.with_traceback(None)
        return node.value

    def changed(self, cells: Iterable[Hashable]) -> None:
        """Notes that cells may have other values now."""
        self._revision += 1
        pending: list[_Cell] = []
        for cell in cells:
            entry = self._cells.get(cell)
            if entry is not None:  # whoever reads another one later sees its new value
                entry.changed_at = self._revision
                pending.append(entry)
        while pending:
            for reader in pending.pop().readers:
                if not reader.is_suspect:
                    reader.is_suspect = True
                    pending.append(reader)

    def collect(self) -> int:
        """Returns how many nodes were forgotten: those that nothing needs that was asked for since the last call."""
        before, kept = len(self), set[_Cell]()
        pending: list[_Cell] = [*self._asked]
        while pending:
            entry = pending.pop()
            if entry not in kept:
                kept.add(entry)
                if isinstance(entry, _Node):
                    pending.extend(entry.reads)
        self._nodes = {name: node for name, node in self._nodes.items() if node in kept}
        self._cells = {name: cell for name, cell in self._cells.items() if cell in kept}
        for entry in kept:
            entry.readers &= kept
        self._asked = set()
        return before - len(self)

    def _settle(self, node: _Node) -> None:
        """Makes sure that a node has the value that it would have if it were computed now."""
        if node.is_known and not any(self._is_newer(entry, node.checked_at) for entry in node.reads):
            node.is_suspect, node.checked_at = False, self._revision
            return
        self._compute(node)

    def _is_newer(self, entry: _Cell, checked_at: int) -> bool:
        """True where something that was read has another value than in a revision."""
        if isinstance(entry, _Node) and (entry.is_suspect or not entry.is_known):
            self._settle(entry)
        return entry.changed_at > checked_at

    def _compute(self, node: _Node) -> None:
        function, arguments = node.name  # type: ignore[misc]
        self._reading.append({})
        value, error = None, None
        try:
            value = function(*arguments)  # type: ignore[has-type]
        except CellAssetsError as refusal:
            error = refusal.with_traceback(None)
        finally:
            reads = tuple(self._reading.pop())
        self.n_computed += 1
        if not node.gave(value, error):
            node.value, node.error, node.changed_at = value, error, self._revision
        self._set_reads(node, reads)
        node.is_known, node.is_suspect, node.checked_at = True, False, self._revision

    def _set_reads(self, node: _Node, reads: tuple[_Cell, ...]) -> None:
        for entry in set(node.reads).difference(reads):
            entry.readers.discard(node)
        for entry in reads:
            entry.readers.add(node)
        node.reads = reads
