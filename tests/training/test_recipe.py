import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from upath import UPath

from cellassets.errors import ConfigError, PartitionKeyError, RecipeError
from cellassets.training.recipe import (
    ClassicalRecipe,
    NetworkRecipe,
    load_recipe,
    recipe_experiments,
    recipe_fingerprint,
)

CONFIGS = Path(__file__).parents[2] / "configs"
MASKED, DISTILLED, VIT = {"name": "masked_autoencoding"}, {"name": "self_distillation"}, {"family": "vit"}
SMALLEST = {"kind": "network", "train_experiments": ["A-1"], "validation_experiments": ["A-2"]}


def written(folder: Path, values: object, name: str = "mine.yaml") -> UPath:
    path = folder / name
    path.write_text(yaml.safe_dump(values))
    return UPath(path)


@pytest.mark.parametrize(
    "path", sorted(CONFIGS.rglob("recipes/*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS))
)
def test_every_recipe_in_the_repository_loads_and_is_called_as_its_file(path):
    assert load_recipe(UPath(path)).name == path.stem


def test_the_demo_has_two_networks_and_a_baseline():
    kinds = [type(load_recipe(UPath(path))) for path in sorted(CONFIGS.glob("demo/recipes/*.yaml"))]
    assert kinds.count(NetworkRecipe) >= 2
    assert ClassicalRecipe in kinds


def test_reading_recipes_and_plans_imports_neither_torch_nor_mlflow():
    code = (
        "import sys, cellassets.stages.catalogue, cellassets.training.recipe, cellassets.training.spec, "
        "cellassets.registry; print({'torch', 'mlflow', 'pytorch_lightning', 'transformers'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_an_experiment_cannot_be_trained_on_and_validated_on(tmp_path):
    path = written(tmp_path, {**SMALLEST, "validation_experiments": ["A-1"]})
    with pytest.raises(ConfigError, match=r"mine\.yaml.*A-1 named for training and for validation"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"epochs": 3}, "epochs: unknown key"),
        ({"backbone": {"family": "alexnet"}}, "backbone: .*alexnet"),
        ({"backbone": {"family": "resnet", "widths": [8], "depths": [1, 1]}}, r"backbone\.resnet: .*same number"),
        ({"backbone": {"family": "vit", "width": 10, "n_heads": 4}}, r"backbone\.vit: .*multiple of n_heads"),
        ({"loss": {"cross_entropy_weight": 0}}, "loss: .*at least one must be positive"),
        ({"optimiser": {"learning_rate": -1}}, r"optimiser\.learning_rate"),
        ({"validation_experiments": []}, "validation_experiments"),
        ({"train_experiments": ["A-1", "A-1"]}, "named twice"),
        ({"n_epochs": 10, "validate_every_n_epochs": 4}, "last epoch would not be validated"),
        ({"loss": {"metric_losses": [{"name": "triplet"}]}}, r"loss\.metric_losses\.0: .*triplet"),
        ({"loss": {"metric_losses": [{"name": "supcon", "margin": 1}]}}, r"metric_losses\.0\.supcon\.margin"),
        ({"loss": {"metric_losses": [{"name": "supcon"}, {"name": "supcon"}]}}, "metric_losses: .*named twice"),
        ({"augmentation": {"mix": {"kind": "mosaic"}}}, r"augmentation\.mix\.kind"),
        (
            {"augmentation": {"mix": {"kind": "cutmix"}}, "loss": {"metric_losses": [{"name": "supcon"}]}},
            r"augmentation\.mix gives images two labels, and loss\.metric_losses \(supcon\)",
        ),
        ({"augmentation": {"channel_dropout_frac": 1}}, r"augmentation\.channel_dropout_frac"),
        ({"sampling": "random"}, "sampling: .*random"),
        ({"sampling": "one_experiment"}, "one_experiment with one training experiment"),
        ({"sampling": "uniform", "n_sites_per_class": 2}, "n_sites_per_class 2 contradicts sampling uniform"),
        ({"n_sites_per_class": 3}, "batch_size 32 is not a multiple of n_sites_per_class 3"),
        ({"backbone": {"family": "dinov2", "width": 10, "n_heads": 4}}, r"backbone\.dinov2: .*multiple of n_heads"),
        ({"backbone": {"family": "densenet", "layers": [0]}}, r"backbone\.densenet\.layers\.0"),
        (
            {"backbone": {"family": "zoo", "model_type": "swin", "config": {"num_channels": 3}}},
            r"backbone\.zoo: .*config\.num_channels is the number of channels of the plates",
        ),
        ({"start_from": "resnet"}, "start_from"),
        ({"frozen": ["backbone.*"]}, "frozen without start_from and without weights"),
        ({"weights": {"file": "here.safetensors", "sha256": "0" * 64}}, r"weights\.file: .*absolute path"),
        ({"weights": {"file": "/w.safetensors", "sha256": "1"}}, r"weights\.sha256"),
        (
            {"weights": {"file": "/w.safetensors", "sha256": "0" * 64}, "start_from": "a.v1"},
            "start_from and weights both give the first weights",
        ),
        ({"optimiser": {"ema_decay": 1}}, r"optimiser\.ema_decay"),
        ({"optimiser": {"n_batches_per_step": 0}}, r"optimiser\.n_batches_per_step"),
        ({"early_stopping": {"metric": "recall", "patience": 1}}, r"early_stopping\.metric"),
        (
            {"early_stopping": {"metric": "validation_loss", "patience": 1}},
            "validation_loss is not measured by",
        ),
        ({"objective": {"name": "contrastive"}}, "objective: .*contrastive"),
        ({"objective": MASKED}, r"hides patches, and backbone\.family resnet has none"),
        ({"objective": DISTILLED, "loss": {"arcface_weight": 1}}, "self_distillation uses no labels, and loss is that"),
        ({"objective": DISTILLED, "augmentation": {"mix": {"kind": "mixup"}}}, r"augmentation\.mix mixes labels"),
        ({"objective": DISTILLED, "sampling": "class_balanced"}, "sampling class_balanced draws sites by their class"),
        ({"objective": DISTILLED, "n_sites_per_class": 2}, "n_sites_per_class 2 draws sites by their class"),
        ({"objective": DISTILLED, "optimiser": {"ema_decay": 0.9}}, r"optimiser\.ema_decay: the teacher of"),
        (
            {"objective": {**DISTILLED, "teacher_temperature": 0.2}},
            r"objective\.self_distillation: .*expected at most student_temperature, 0\.1",
        ),
        (
            {"objective": {**DISTILLED, "local_crop_px": 64}, "augmentation": {"crop_px": 64}},
            r"objective\.local_crop_px is 64: expected less than the side of the large crops, 64",
        ),
        (
            {"objective": {**DISTILLED, "local_crop_px": 24}, "backbone": VIT, "augmentation": {"crop_px": 64}},
            r"objective\.local_crop_px 24 is not a multiple of backbone\.patch_px 16",
        ),
        (
            {"objective": DISTILLED, "backbone": {"family": "convnext"}, "augmentation": {"crop_px": 32}},
            r"objective\.local_crop_px is 16, and backbone convnext needs at least 32 pixels",
        ),
        (
            {"objective": MASKED, "backbone": VIT, "augmentation": {"crop_px": 72}},
            r"backbone\.patch_px 16 does not divide the crops of 72 x 72 pixels",
        ),
        (
            {"objective": MASKED, "backbone": VIT, "augmentation": {"crop_px": 16}},
            r"objective\.mask_frac 0\.75 of the 1 patches of a crop",
        ),
        (
            {"objective": MASKED, "backbone": VIT, "embedding_dim": 512},
            r"512 is above backbone\.width 384",
        ),
        ({"objective": {**MASKED, "decoder_dim": 100}, "backbone": VIT}, "decoder_dim 100 is not a multiple of 4 and"),
        (
            {"early_stopping": {"patience": 5}, "n_epochs": 10, "validate_every_n_epochs": 2},
            r"early_stopping\.patience 5 is never reached in 5 validations",
        ),
    ],
)
def test_a_wrong_key_is_named_with_its_file(tmp_path, changes, told):
    with pytest.raises(ConfigError, match=rf"(?s)mine\.yaml.*{told}"):
        load_recipe(written(tmp_path, {**SMALLEST, **changes}))


@pytest.mark.parametrize("changes", [{"objective": DISTILLED}, {"objective": MASKED, "backbone": VIT}])
def test_a_recipe_without_labels_is_read_and_written_as_it_is(tmp_path, changes):
    recipe = load_recipe(written(tmp_path, {**SMALLEST, **changes}))
    again = {**recipe.model_dump(mode="json"), "early_stopping": {"metric": "validation_loss", "patience": 1}}
    assert load_recipe(written(tmp_path, again)).objective == recipe.objective


def test_what_is_no_recipe_is_refused_by_file_and_key(tmp_path):
    with pytest.raises(ConfigError, match=r"mine\.yaml.*kind"):
        load_recipe(written(tmp_path, {"kind": "forest"}))
    with pytest.raises(ConfigError, match=r"mine\.yaml.*mapping"):
        load_recipe(written(tmp_path, [1, 2]))
    with pytest.raises(ConfigError, match=r"gone\.yaml"):
        load_recipe(UPath(tmp_path / "gone.yaml"))
    with pytest.raises(RecipeError, match="name of its file"):
        load_recipe(written(tmp_path, {**SMALLEST, "name": "other"}))
    with pytest.raises(PartitionKeyError, match="two words"):
        load_recipe(written(tmp_path, SMALLEST, "two words.yaml"))


def test_classical_parameters_are_checked_against_each_other(tmp_path):
    for wrong in ({"n_channels": 3, "nucleus_channel": 3}, {"families": ["texture", "texture"]}, {"families": ["x"]}):
        with pytest.raises(ConfigError, match=r"mine\.yaml"):
            load_recipe(written(tmp_path, {"kind": "classical", "parameters": wrong}))


def test_a_recipes_fingerprint_changes_with_every_part_of_it(tmp_path):
    first = load_recipe(written(tmp_path, SMALLEST))
    other = load_recipe(written(tmp_path, {**SMALLEST, "augmentation": {"gain_jitter": 0.1}}))
    assert recipe_fingerprint(first) == recipe_fingerprint(load_recipe(written(tmp_path, SMALLEST)))
    assert recipe_fingerprint(first) != recipe_fingerprint(other)
    assert recipe_experiments(first) == ["A-1", "A-2"]
    assert recipe_experiments(ClassicalRecipe(name="c")) == []


def test_a_wrong_key_is_named_with_its_line(tmp_path):
    path = UPath(tmp_path / "mine.yaml")
    path.write_text(
        "kind: network\ntrain_experiments: [A-1]\nvalidation_experiments: [A-2]\nloss:\n  cross_entropy_weight: 1\n"
        "  metric_losses:\n    - {name: supcon}\n    - name: cosface\n      margin: -1\n"
        "backbone: {family: vit, witdh: 3}\nepochs: 3\n"
    )
    with pytest.raises(ConfigError) as raised:
        load_recipe(path)
    for told in (
        r"metric_losses\.1\.cosface\.margin: .* \(line 9\)",
        r"witdh: .* \(line 10\)",
        r"epochs: .*\(line 11\)",
    ):
        assert re.search(told, str(raised.value)), str(raised.value)
