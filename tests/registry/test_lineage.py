"""What a model has seen follows from what is declared about it and about the versions that it was fine-tuned from."""

import shutil

import pytest

from cellassets.errors import RegistryError
from cellassets.registry import Registry
from cellassets.registry.entry import ModelEntry
from cellassets.registry.lineage import (
    MAX_CHARACTERS,
    RECIPE_TAG,
    TAG,
    TrainedOn,
    declaration,
    declared,
    seen_by,
    with_ancestors,
)


def entry(kind="network", **tags):
    return ModelEntry(
        key="m.v1", name="m", version=1, kind=kind, fingerprint="f", aliases=(), created_at_ms=0, tags=tags, run_id=None
    )


def test_what_is_declared_is_read_back():
    trained_on = TrainedOn(experiments=("E1",), validation_experiments=("E2",), perturbations=("TP53",))
    assert declared(entry(**declaration(trained_on))) == trained_on


@pytest.mark.parametrize("tags", [{}, {TAG: "not JSON"}, {TAG: '{"experiment": ["E1"]}'}])
def test_a_network_of_which_nobody_says_anything_readable_is_unknown(tags):
    assert declared(entry(**tags)) is None
    assert not seen_by("m.v1", {"m.v1": None}).is_known
    assert not seen_by("another.v1", {}).is_known


def test_classical_features_have_seen_nothing():
    seen = seen_by("m.v1", {"m.v1": declared(entry(kind="classical"))})
    assert (seen.is_known, seen.experiments, seen.perturbations) == (True, frozenset(), frozenset())
    assert seen.in_words() == "nothing"


def test_a_model_has_seen_what_its_parents_have_seen():
    known = {
        "child.v1": TrainedOn(experiments=("E3",), perturbations=("c",), parents=("parent.v1",)),
        "parent.v1": TrainedOn(
            experiments=("E1",), validation_experiments=("E2", "E3"), perturbations=("p",), parents=("child.v1",)
        ),
    }
    seen = seen_by("child.v1", known)
    assert seen.training == {"E1", "E3"}
    assert seen.validation == {"E2"}, "E3 was trained on later"
    assert seen.perturbations == {"c", "p"}
    assert seen.is_known, "a circle of parents ends"


def test_a_parent_of_which_nothing_is_known_makes_the_rest_unknown():
    seen = seen_by("child.v1", {"child.v1": TrainedOn(experiments=("E3",), perturbations=(), parents=("gone.v1",))})
    assert (seen.training, seen.perturbations, seen.is_known) == ({"E3"}, None, False)
    assert seen.in_words() == "E3; and before not declared by a model that it was fine-tuned from"


def test_a_list_of_perturbations_that_does_not_fit_into_a_tag_counts_as_unknown():
    many = TrainedOn(experiments=("E1",), perturbations=tuple(f"GENE{number}" for number in range(20_000)))
    tag = declaration(many)
    assert len(tag[TAG]) < MAX_CHARACTERS
    assert declared(entry(**tag)) == TrainedOn(experiments=("E1",))


def test_a_declaration_that_does_not_fit_into_a_tag_is_refused_with_the_limit():
    with pytest.raises(RegistryError, match=r"30,000 experiments .* expected at most 100,000 characters"):
        declaration(TrainedOn(experiments=tuple(f"E{number}" for number in range(30_000))))


def test_what_the_parents_have_seen_is_stored_with_the_child():
    known = {
        "grandparent.v1": TrainedOn(cell_types=("HEPG2",), perturbations=("g",)),
        "parent.v1": TrainedOn(
            experiments=("E2",), validation_experiments=("E3",), perturbations=("p",), parents=("grandparent.v1",)
        ),
        "child.v1": TrainedOn(experiments=("E9",)),
    }
    child = TrainedOn(experiments=("E1",), perturbations=("c",), parents=("parent.v1",))
    stored = with_ancestors("child.v1", child, known)
    assert stored == TrainedOn(
        experiments=("E1", "E2"),
        validation_experiments=("E3",),
        cell_types=("HEPG2",),
        perturbations=("c", "g", "p"),
        parents=("parent.v1",),
    )
    assert with_ancestors("child.v1", child, {**known, "parent.v1": None}) == child, "nothing is known yet"
    silent = TrainedOn(experiments=("E2",))
    assert with_ancestors("child.v1", child, {**known, "parent.v1": silent}).perturbations is None


@pytest.fixture
def register(tmp_path, empty_home):
    """Registers a model folder: `register("m", "its files", kind="network")`; `register.registry` is the registry."""
    shutil.copy(empty_home / "mlflow.db", tmp_path / "mlflow.db")

    def register(name, content="{}", **tags):
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        (folder / "encoder.json").write_text(content)
        return register.registry.register(folder, name=name, run_id=None, tags={"kind": "network", **tags}).key

    register.registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", (tmp_path / "models").as_uri())
    return register


@pytest.fixture
def registry_with_model(register):
    return register.registry, register("m")


def test_a_declaration_replaces_the_one_before_and_its_parents_must_exist(registry_with_model):
    registry, key = registry_with_model
    registry.declare(key, TrainedOn(experiments=("E1",)))
    registry.declare(key, TrainedOn(experiments=("E2",)))
    assert declared(registry.find(key)).experiments == ("E2",)
    with pytest.raises(RegistryError, match=r"gone\.v1 is not in the registry"):
        registry.declare(key, TrainedOn(parents=("gone.v1",)))
    assert declared(registry.find(key)).experiments == ("E2",)
    with pytest.raises(RegistryError, match=r"m\.v1 is declared as its own parent"):
        registry.declare(key, TrainedOn(parents=(key,)))


def test_a_child_keeps_what_its_parent_had_seen_when_other_files_get_the_parents_name(register):
    registry, parent, child = register.registry, register("parent"), register("child")
    registry.declare(parent, TrainedOn(experiments=("E3",)))
    registry.declare(child, TrainedOn(parents=(parent,)))
    registry.client().delete_registered_model("parent")
    assert register("parent", content="others") == parent
    registry.declare(parent, TrainedOn())
    known = {entry.key: declared(entry) for entry in registry.list_models()}
    assert seen_by(child, known).training == {"E3"}


def test_what_a_recipe_declares_cannot_be_changed_by_hand(register):
    trained = register(
        "trained", **{RECIPE_TAG: "f", "recipe_name": "wide"}, **declaration(TrainedOn(experiments=("E1",)))
    )
    with pytest.raises(RegistryError, match=r"trained\.v1 was trained here by the recipe wide: its recipe declares"):
        register.registry.declare(trained, TrainedOn())
    assert declared(register.registry.find(trained)).experiments == ("E1",)
    features = register("features", kind="classical", **{RECIPE_TAG: "f"})
    with pytest.raises(RegistryError, match="its recipe declares"):
        register.registry.declare(features, TrainedOn(experiments=("E1",)))


def test_a_model_that_was_trained_before_there_were_declarations_is_declared_and_corrected_by_hand(register):
    old = register("old", **{RECIPE_TAG: "f"})
    for experiments in (("E1",), ("E2",)):
        register.registry.declare(old, TrainedOn(experiments=experiments))
        assert declared(register.registry.find(old)).experiments == experiments
