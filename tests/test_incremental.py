"""Incremental values equal values that are computed from scratch, and only what a change reaches is computed again."""

import random

import pytest

from cellassets.errors import ConfigError, DatasetError
from cellassets.incremental import Incremental

N_CELLS, N_NODES, N_STEPS = 12, 30, 60


class Sheet:
    """Random formulas over cells, as a spreadsheet has them: what a node reads depends on the values that it sees."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.cells = {number: self.rng.randrange(5) for number in range(N_CELLS)}
        self.inputs = {
            number: [self.rng.randrange(N_CELLS + number) - N_CELLS for _ in range(4)] for number in range(N_NODES)
        }  # below 0: a cell; otherwise an earlier node
        self.graph = Incremental()
        self.computed: list[int] = []

    def formula(self, number, read):
        """First input decides which others are read, whether it refuses, and what comes out."""
        first, *others = self.inputs[number]
        chosen = read(first)
        if chosen % 7 == 6:
            message = f"{number} refuses {chosen}"
            raise ConfigError(message)
        try:
            return (chosen + sum(read(other) for other in others[: chosen % 4])) % 10
        except ConfigError:
            if chosen % 2:
                raise
            return -1 % 10

    def fresh(self, number):
        return self.formula(number, lambda name: self.fresh(name) if name >= 0 else self.cells[name + N_CELLS])

    def live(self, number):
        return self.graph.value(self.node, number)

    def node(self, number):
        self.computed.append(number)
        return self.formula(number, self.read)

    def read(self, name):
        if name >= 0:
            return self.live(name)
        self.graph.read(("cell", name + N_CELLS))
        return self.cells[name + N_CELLS]

    def change(self):
        """Changes some cells; some of them to the value that they have, some that nobody reads."""
        chosen = self.rng.sample(range(N_CELLS), self.rng.randrange(1, 4))
        for cell in chosen:
            self.cells[cell] = self.rng.randrange(5)
        self.graph.changed([("cell", cell) for cell in chosen])
        return set(chosen)

    def reached(self, cells):
        """Nodes that depend on some cells, whatever the values."""
        found: set[int] = set()
        for number, inputs in self.inputs.items():  # inputs come before
            if any((name + N_CELLS in cells) if name < 0 else (name in found) for name in inputs):
                found.add(number)
        return found


def outcome(function, number):
    try:
        return function(number)
    except ConfigError as error:
        return str(error)


@pytest.mark.parametrize("seed", range(40))
def test_values_equal_those_computed_from_scratch_and_only_what_a_change_reaches_is_computed(seed):
    sheet = Sheet(seed)
    since_asked: dict[int, set[int]] = {number: set(range(N_CELLS)) for number in range(N_NODES)}
    for _ in range(N_STEPS):
        changed = sheet.change()
        for number in since_asked:
            since_asked[number] |= changed
        sheet.computed.clear()
        asked = sheet.rng.sample(range(N_NODES), sheet.rng.randrange(1, N_NODES))
        for number in asked:
            assert outcome(sheet.live, number) == outcome(sheet.fresh, number)
        assert len(sheet.computed) == len(set(sheet.computed))  # once per change at most
        for number in sheet.computed:
            assert number in sheet.reached(since_asked[number])
        for number in {*asked, *sheet.computed}:
            since_asked[number] = set()
        if sheet.rng.random() < 0.1:
            sheet.graph.collect()
            since_asked = {number: set(range(N_CELLS)) for number in range(N_NODES)}


@pytest.fixture
def graph() -> Incremental:
    return Incremental()


def test_equal_inputs_are_not_computed_with_again(graph):
    cells, computed = {"a": 3}, []

    def parity():
        graph.read("a")
        computed.append("parity")
        return cells["a"] % 2

    def word():
        computed.append("word")
        return "odd" if graph.value(parity) else "even"

    def sentence():
        computed.append("sentence")
        return f"a is {graph.value(word)}"

    assert graph.value(sentence) == "a is odd"
    cells["a"] = 5
    graph.changed(["a"])
    computed.clear()
    assert graph.value(sentence) == "a is odd"
    assert computed == ["parity"]
    cells["a"] = 6
    graph.changed(["a"])
    assert graph.value(sentence) == "a is even"
    assert computed == ["parity", "parity", "word", "sentence"]


def test_nothing_is_computed_where_nothing_changed(graph):
    graph.value(len, "abc")
    graph.changed(["what nobody reads"])
    assert graph.value(len, "abc") == 3
    assert graph.n_computed == 1


def test_a_refusal_is_kept_and_raised_again_until_its_input_changes(graph):
    cells = {"file": "wrong"}

    def load():
        graph.read("file")
        if cells["file"] == "wrong":
            message = "file: wrong"
            raise ConfigError(message)
        return cells["file"]

    def use():
        return f"uses {graph.value(load)}"

    for _ in range(2):
        with pytest.raises(ConfigError, match="file: wrong"):
            graph.value(use)
    assert graph.n_computed == 2
    cells["file"] = "right"
    graph.changed(["file"])
    assert graph.value(use) == "uses right"
    cells["file"] = "wrong"
    graph.changed(["file"])
    with pytest.raises(ConfigError, match="file: wrong"):
        graph.value(use)


def test_refusals_that_read_alike_and_carry_other_things_are_different(graph):
    class Missing(DatasetError):
        def __init__(self, names):
            super().__init__(f"{len(names)} missing")
            self.names = names

    cells = {"missing": ["E-1"]}

    def need():
        graph.read("missing")
        raise Missing(list(cells["missing"]))

    def names():
        try:
            graph.value(need)
        except Missing as error:
            return error.names

    assert graph.value(names) == ["E-1"]
    cells["missing"] = ["E-2"]
    graph.changed(["missing"])
    assert graph.value(names) == ["E-2"]


def test_an_unexpected_error_is_raised_and_not_kept(graph):
    tries = []

    def fails_once():
        tries.append(1)
        return 1 // (len(tries) - 1)

    def above():
        return graph.value(fails_once)

    with pytest.raises(ZeroDivisionError):
        graph.value(above)
    assert graph.value(above) == 1


def test_a_node_that_reads_something_else_now_follows_that_alone(graph):
    cells = {"which": "a", "a": 1, "b": 2}

    def chosen():
        graph.read("which")
        graph.read(cells["which"])
        return cells[cells["which"]]

    assert graph.value(chosen) == 1
    cells["which"] = "b"
    graph.changed(["which"])
    assert graph.value(chosen) == 2
    n_computed = graph.n_computed
    graph.changed(["a"])
    assert graph.value(chosen) == 2
    assert graph.n_computed == n_computed
    cells["b"] = 7
    graph.changed(["b"])
    assert graph.value(chosen) == 7


def test_the_graph_does_not_grow_over_many_ticks(graph):
    models: list[str] = []

    def state(model):
        graph.read(("record", model))
        return model.upper()

    def total():
        graph.read("models")
        return [graph.value(state, model) for model in models]

    sizes = []
    for number in range(200):
        models[:] = [f"model-{number - back}" for back in range(5)]
        graph.changed(["models", *(("record", model) for model in models)])
        assert graph.value(total) == [model.upper() for model in models]
        if number % 10 == 9:
            graph.collect()
            sizes.append((len(graph), len(graph._cells)))
    assert len(set(sizes)) == 1
    assert sizes[0][0] == 6


def test_collecting_keeps_what_was_asked_for_and_forgets_the_rest(graph):
    graph.value(len, "kept")
    graph.value(len, "forgotten")
    graph.collect()
    graph.value(len, "kept")
    assert graph.collect() == 1
    assert graph.value(len, "kept") == 4
    assert graph.n_computed == 2
