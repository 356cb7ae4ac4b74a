"""The folders of configuration files in the repository: a stranger's, the demo's, and the examples."""

from collections import Counter
from pathlib import Path

import pytest
import yaml
from upath import UPath

from cellassets.clustering.parameters import ClusterParameters
from cellassets.configuration import load_yaml
from cellassets.hits.parameters import HitParameters
from cellassets.judging.gate import GatePolicy
from cellassets.mapping.build import MapParameters
from cellassets.mapping.dataset import load_dataset
from cellassets.screens.layouts.choose import shipped_layouts
from cellassets.stages.costs import Prices
from cellassets.stages.settings import Policy
from cellassets.synthetic.design import ScreenDesign
from cellassets.training.recipe import ClassicalRecipe, load_recipe, recipe_experiments

CONFIGS = UPath(Path(__file__).parents[2] / "configs")
DEMO = CONFIGS / "demo"
EXAMPLES = CONFIGS / "examples"
MODELS = {"policy.yaml": Policy, "mapping.yaml": MapParameters, "gate.yaml": GatePolicy}


def test_the_default_clusters_are_the_defaults():
    assert load_yaml(CONFIGS / "clusters.yaml", ClusterParameters) == ClusterParameters()


@pytest.mark.parametrize("folder", [CONFIGS, DEMO], ids=["default", "demo"])
def test_every_settings_file_is_valid(folder):
    for name, model in MODELS.items():
        load_yaml(folder / name, model)


def test_the_default_folder_names_nothing_of_the_demo():
    for path in [
        *(CONFIGS / name for name in MODELS),
        *CONFIGS.glob("recipes/*.yaml"),
        *CONFIGS.glob("benchmarks/*.yaml"),
    ]:
        assert "HUVEC" not in str(yaml.safe_load(path.read_text())), path


def test_the_default_policy_shows_the_defaults_and_judges_on_every_dataset():
    policy = load_yaml(CONFIGS / "policy.yaml", Policy)
    assert policy == Policy()
    assert policy.datasets.active == "all"


def test_the_default_recipes_wait_for_no_experiment():
    recipes = [load_recipe(path) for path in CONFIGS.glob("recipes/*.yaml")]
    assert recipes
    assert all(isinstance(recipe, ClassicalRecipe) for recipe in recipes)
    n_channels = len(shipped_layouts()["rxrx1"].declared.channels)
    assert {recipe.parameters.n_channels for recipe in recipes} == {n_channels}


def test_the_default_settings_of_hits_are_the_defaults_of_the_model():
    assert load_yaml(CONFIGS / "hits.yaml", HitParameters) == HitParameters()


def test_examples_are_valid_and_only_those_of_a_named_folder_are_read():
    for path in EXAMPLES.glob("recipes/*.yaml"):
        assert load_recipe(path).name == path.stem
    for path in EXAMPLES.glob("datasets/*.yaml"):
        assert load_dataset(path).dataset_id == path.stem
    for path in EXAMPLES.glob("mapping/*.yaml"):
        load_yaml(path, MapParameters)
    for path in EXAMPLES.glob("prices/*.yaml"):
        load_yaml(path, Prices)
    for path in EXAMPLES.glob("designs/*.yaml"):
        load_yaml(path, ScreenDesign)
    folders = {"recipes", "datasets", "mapping", "prices", "designs"}
    assert {path.parent.name for path in EXAMPLES.rglob("*.yaml")} == folders


def test_the_splits_of_rxrx1_are_the_official_ones():
    """All 51 experiments, in the numbers of Koh et al. 2021 (appendix E.3), and none in two parts."""
    wilds, winner = (load_recipe(EXAMPLES / f"recipes/rxrx1_{name}.yaml") for name in ("wilds", "winner"))
    parts = {
        name: load_dataset(EXAMPLES / f"datasets/rxrx1_{name}.yaml").experiment_ids
        for name in ("train", "validation", "test")
    }
    assert parts["train"] == wilds.train_experiments == winner.train_experiments
    assert parts["validation"] == wilds.validation_experiments == winner.validation_experiments
    assert set(winner.control_experiments) == {*parts["validation"], *parts["test"]}
    counts = {name: Counter(one.split("-")[0] for one in some) for name, some in parts.items()}
    assert counts == {
        "train": {"HUVEC": 16, "RPE": 7, "HEPG2": 7, "U2OS": 3},
        "validation": {"HUVEC": 1, "RPE": 1, "HEPG2": 1, "U2OS": 1},
        "test": {"HUVEC": 7, "RPE": 3, "HEPG2": 3, "U2OS": 1},
    }
    lasts = {"HUVEC": 24, "RPE": 11, "HEPG2": 11, "U2OS": 5}
    every = {f"{name}-{n:02d}" for name, last in lasts.items() for n in range(1, last + 1)}
    assert {one for some in parts.values() for one in some} == every
    assert wilds.channels == tuple(one.name for one in shipped_layouts()["rxrx1"].declared.channels[:3])


def test_the_recipes_of_the_study_train_on_experiments_of_its_screen_and_judge_others():
    study = CONFIGS / "studies" / "learning"
    experiments = set(load_yaml(study / "design.yaml", ScreenDesign).experiments)
    judged = set(load_dataset(study / "datasets" / "held_out.yaml").experiment_ids or ())
    assert judged < experiments
    load_yaml(study / "policy.yaml", Policy)
    load_yaml(study / "mapping.yaml", MapParameters)
    for path in study.glob("recipes/*.yaml"):
        recipe = load_recipe(path)
        if not isinstance(recipe, ClassicalRecipe):
            seen = set(recipe_experiments(recipe))
            assert seen < experiments, path
            assert not seen & judged, path
