"""A network that is trained without labels: registered like any other, and a start for a training with labels."""

import pytest

from cellassets.registry.lineage import declared
from cellassets.training.checkpoint import load_network
from cellassets.training.recipe import VitBackbone

MASKED = {
    "kind": "network",
    "train_experiments": ["HUVEC-1"],
    "validation_experiments": ["HUVEC-2"],
    "backbone": {"family": "vit", "width": 16, "depth": 1, "n_heads": 2, "patch_px": 8},
    "embedding_dim": 8,
    "objective": {"name": "masked_autoencoding", "decoder_dim": 16, "decoder_depth": 1, "decoder_n_heads": 2},
    "classes": {"control_kinds": []},
    "augmentation": {"crop_px": 48},
    "n_epochs": 1,
}
DISTILLED = MASKED | {
    "backbone": {"family": "resnet", "stem_width": 8, "widths": [8, 16], "depths": [1, 1]},
    "objective": {"name": "self_distillation", "n_prototypes": 32, "hidden_dim": 16, "bottleneck_dim": 8}
    | {"teacher_momentum": 0.9, "n_local_crops": 1},
}


def test_a_supervised_recipe_starts_from_a_model_that_has_seen_no_labels(screen, tmp_path):
    screen.set("recipes/masked.yaml", MASKED)
    supervised = {name: value for name, value in MASKED.items() if name != "objective"}
    screen.set("recipes/tuned.yaml", supervised | {"start_from": "masked.v1"})
    summary = screen.make("checkpoint", "masked").record.summary
    assert summary["n_train_sites_without_class"] > 0, "controls are trained on without being a class"
    assert {"validation_loss", "validation_accuracy", "train_loss"} <= set(summary["metrics"])
    parent = screen.registry.find("masked.v1")
    assert "EMPTY" in declared(parent).perturbations, "it has seen wells that do not belong to a class"

    _, spec = load_network(screen.registry.fetch("masked.v1", tmp_path))
    assert (spec.backbone, spec.embedding_dim, spec.trained_px) == (VitBackbone(**MASKED["backbone"]), 8, 48)
    embedded = screen.make("site_embeddings", "HUVEC-2", "masked.v1").record
    assert embedded.summary["n_sites"] > 0

    tuned = screen.make("checkpoint", "tuned").record.summary
    assert "validation_loss" not in tuned["metrics"]
    assert tuned.get("n_train_sites_without_class") is None
    found = declared(screen.registry.find("tuned.v1"))
    assert found.parents == ("masked.v1",)
    assert "EMPTY" in found.perturbations


@pytest.mark.slow
def test_the_teacher_of_a_self_distillation_is_registered(screen, tmp_path):
    screen.set("recipes/distilled.yaml", DISTILLED)
    summary = screen.make("checkpoint", "distilled").record.summary
    assert summary["metrics"]["embedding_std"] > 0.01
    network, _ = load_network(screen.registry.fetch("distilled.v1", tmp_path))
    assert {name.split(".")[0] for name in network.state_dict()} == {"backbone", "neck"}
