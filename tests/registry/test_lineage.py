"""What a model has seen follows from what is declared about it and about the versions that it was fine-tuned from."""

import pytest

from cellassets.errors import RegistryError
from cellassets.registry import Registry
from cellassets.registry.entry import ModelEntry
from cellassets.registry.lineage import MAX_CHARACTERS, TAG, TrainedOn, declaration, declared, seen_by


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


@pytest.fixture
def registry_with_model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "encoder.json").write_text('{"kind": "network"}')
    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", (tmp_path / "models").as_uri())
    return registry, registry.register(folder, name="m", run_id=None, tags={"kind": "network"}).key


def test_a_declaration_replaces_the_one_before_and_its_parents_must_exist(registry_with_model):
    registry, key = registry_with_model
    registry.declare(key, TrainedOn(experiments=("E1",)))
    registry.declare(key, TrainedOn(experiments=("E2",)))
    assert declared(registry.find(key)).experiments == ("E2",)
    with pytest.raises(RegistryError, match=r"gone\.v1 is not in the registry"):
        registry.declare(key, TrainedOn(parents=("gone.v1",)))
    assert declared(registry.find(key)).experiments == ("E2",)
