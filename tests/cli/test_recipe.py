"""`cellassets recipe`: a recipe with its defaults, or what is wrong with it."""

import json
import re
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]


def documented_recipes() -> dict[str, str]:
    text = (REPOSITORY / "docs/add-a-recipe.md").read_text()
    return dict(re.findall(r"```yaml\n# configs/recipes/(\w+)\.yaml\n(.*?)```", text, re.DOTALL))


@pytest.mark.parametrize("name", sorted(documented_recipes()))
def test_the_documented_recipes_are_valid(name, run, tmp_path):
    path = tmp_path / f"{name}.yaml"
    path.write_text(documented_recipes()[name])
    shown, written = yaml.safe_load(run("recipe", "check", path)), yaml.safe_load(path.read_text())
    assert shown["name"] == name
    plain = {key: value for key, value in written.items() if not isinstance(value, dict)}
    assert {key: shown[key] for key in plain} == plain
    assert json.loads(run("recipe", "check", path, "--json")) == [shown]


def test_a_wrong_recipe_is_refused_with_the_file_and_the_key(refused, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("kind: network\ntrain_experiments: [A]\nvalidation_experiments: [B]\nepochs: 3\n")
    told = refused("recipe", "check", path)
    assert str(path) in told
    assert "epochs" in told


def test_a_configuration_of_transformers_is_checked_too(refused, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "kind: network\ntrain_experiments: [A]\nvalidation_experiments: [B]\n"
        "backbone: {family: zoo, model_type: regnet, config: {group_width: 16}}\n"
    )
    told = refused("recipe", "check", path)
    assert str(path) in told
    assert "backbone.config.group_width: unknown key of regnet" in told
