"""A recipe that starts from a registered version: pinned by its files, visible in the lineage, frozen where asked."""

import pytest

from cellassets.errors import RecipeError, RegistryError
from cellassets.reconcile.standing import recipe_agenda
from cellassets.registry import ModelEntry
from cellassets.registry.lineage import declared
from cellassets.stages.catalogue import open_snapshot, stage_named
from cellassets.training.checkpoint import load_network

PARENT = {
    "kind": "network",
    "train_experiments": ["HUVEC-1"],
    "validation_experiments": ["HUVEC-2"],
    "backbone": {"family": "resnet", "stem_width": 8, "widths": [8, 16], "depths": [1, 1]},
    "embedding_dim": 8,
    "augmentation": {"crop_px": 48},
    "n_epochs": 1,
}
CHILD = {
    **PARENT,
    "train_experiments": ["HUVEC-2"],
    "validation_experiments": ["HUVEC-1"],
    "start_from": "parent.v1",
    "frozen": ["backbone.model.embedder.*"],
    "optimiser": {"ema_decay": 0.5},
}


def plan_of(place, name):
    return stage_named("checkpoint").plan(open_snapshot(place.deployment), {"recipe": name})


def test_a_network_is_trained_further_and_its_lineage_says_so(screen, tmp_path):
    screen.set("recipes/parent.yaml", PARENT)
    screen.set("recipes/child.yaml", CHILD)
    with pytest.raises(RegistryError, match=r"model parent\.v1 is not in the registry"):
        plan_of(screen, "child")
    (waiting,) = [one for one in recipe_agenda(open_snapshot(screen.deployment)).waiting if "child" in one.what]
    assert "parent.v1 is not in the registry" in waiting.reason

    screen.make("checkpoint", "parent")
    parent = screen.registry.find("parent.v1")
    assert plan_of(screen, "child").inputs["start_from"] == parent.fingerprint
    screen.make("checkpoint", "child")
    found = declared(screen.registry.find("child.v1"))
    assert found.parents == ("parent.v1",)
    assert set(found.experiments) == {"HUVEC-1", "HUVEC-2"}, "it has seen what its parent has seen"

    (old, _), (new, _) = (load_network(screen.registry.fetch(f"{name}.v1", tmp_path)) for name in ("parent", "child"))
    for name, weight in old.state_dict().items():
        is_frozen = name.startswith("backbone.model.embedder.")
        if is_frozen or name.endswith("convolution.weight"):
            assert (weight == new.state_dict()[name]).all() == is_frozen, name


def test_the_plan_follows_the_files_of_the_parent(screen, monkeypatch):
    screen.set("recipes/child.yaml", {**CHILD, "start_from": "random.v1"})
    first = plan_of(screen, "child")
    entry = screen.registry.find("random.v1")
    other = ModelEntry.model_validate({**entry.model_dump(), "fingerprint": "f" * 32})
    monkeypatch.setattr("cellassets.stages.snapshot.Snapshot.model", lambda _self, _key: other)
    assert plan_of(screen, "child").fingerprint != first.fingerprint


def test_a_parent_that_does_not_fit_is_refused_by_what_differs(screen):
    screen.set("recipes/child.yaml", {**CHILD, "start_from": "four.v1", "frozen": []})
    with pytest.raises(RecipeError, match=r"start_from: .* of four\.v1 is"):
        screen.make("checkpoint", "child")
