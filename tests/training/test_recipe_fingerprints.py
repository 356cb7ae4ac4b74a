"""Fingerprints of the shipped recipes. A new field must not change them: every deployment would train again."""

from pathlib import Path

import pytest
from upath import UPath

from cellassets.fingerprint import fingerprint
from cellassets.stages.stage import settings_of
from cellassets.training.recipe import NetworkRecipe, load_recipe, recipe_fingerprint

CONFIGS = Path(__file__).parents[2] / "configs"
FINGERPRINTS = {
    "demo/recipes/classical.yaml": ("b4ed3fe8c1d7dfce41de5e3e65ef5f5c", "2c3c6edd71d6d72e47e8775d2e990c4f"),
    "demo/recipes/resnet_arcface.yaml": ("84a155b931095504e07a0743fbbdffe4", "a51e0c948ddaa792994405d3562f45ab"),
    "demo/recipes/resnet_ce.yaml": ("a82387d41d211977707d5ec1e75db7e8", "15a74fbcd06fcf64c0f8156eb1beab73"),
    "examples/recipes/resnet50_arcface.yaml": ("9e962b3e962bc86dc374342b0c527ba2", "caee6083b5a54774219d9b06050123e4"),
    "examples/recipes/vit_small.yaml": ("5ab071463e94aa22cfa2c6778921db03", "ab20773974d297686ef2ec25542e7d8d"),
}


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_a_recipe_keeps_the_fingerprint_that_it_had_before_there_were_newer_fields(name):
    """The recipe's own fingerprint, and that of its settings in the plan of the stage `checkpoint`."""
    recipe = load_recipe(UPath(CONFIGS / name))
    assert (recipe_fingerprint(recipe), fingerprint({"r": settings_of(recipe)})) == FINGERPRINTS[name]


CHANGES = (
    {"loss": {"metric_losses": [{"name": "supcon"}]}},
    {"augmentation": {"channel_dropout_frac": 0.1}},
    {"augmentation": {"mix": {"kind": "mixup"}}},
    {"sampling": "uniform"},
    {"n_sites_per_class": 2},
    {"start_from": "resnet.v1"},
    {"start_from": "resnet.v1", "frozen": ["backbone.*"]},
    {"weights": {"file": "/w.safetensors", "sha256": "0" * 64}},
    {"weights": {"file": "/w.safetensors", "sha256": "1" * 64}},
    {"optimiser": {"ema_decay": 0.99}},
    {"optimiser": {"n_batches_per_step": 2}},
    {"optimiser": {"max_gradient_norm": 1.0}},
    {"early_stopping": {"patience": 2}},
    {"objective": {"name": "self_distillation"}},
    {"objective": {"name": "self_distillation", "n_local_crops": 2}},
    {"objective": {"name": "masked_autoencoding"}, "backbone": {"family": "vit"}},
    {"augmentation": {"crop_from": "centre"}},
    {"augmentation": {"min_zoom_frac": 0.5}},
    {"channels": ["Hoechst"]},
    {"train_site_indices": [1]},
    {"control_experiments": ["C"]},
)


def test_every_newer_field_changes_the_fingerprint_when_it_is_set():
    smallest = {"name": "r", "train_experiments": ["A"], "validation_experiments": ["B"]}
    found = [recipe_fingerprint(NetworkRecipe.model_validate({**smallest, **change})) for change in ({}, *CHANGES)]
    assert len(set(found)) == len(CHANGES) + 1


def test_a_newer_field_at_its_default_is_the_same_as_one_that_is_left_out():
    smallest = {"name": "r", "train_experiments": ["A"], "validation_experiments": ["B"]}
    written = {
        "objective": {"name": "classification"},
        "sampling": "class_balanced",
        "frozen": [],
        "optimiser": {"ema_decay": None, "n_batches_per_step": 1},
    }
    dumped = NetworkRecipe.model_validate({**smallest, **written}).model_dump(mode="json")
    assert dumped == NetworkRecipe.model_validate(smallest).model_dump(mode="json")
    assert NetworkRecipe.model_validate(dumped) == NetworkRecipe.model_validate(smallest)
