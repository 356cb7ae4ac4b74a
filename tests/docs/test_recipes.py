"""The recipes in docs/add-a-recipe.md are recipes."""

import re
from pathlib import Path

import pytest
import yaml
from upath import UPath

from cellassets.training.recipe import checked_family, load_recipe

PAGE = Path(__file__).parents[2] / "docs" / "add-a-recipe.md"
BLOCKS = re.findall(r"```yaml\n# configs/recipes/(\w+)\.yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
COMPLETE = {name: text for name, text in BLOCKS if "kind" in yaml.safe_load(text)}


@pytest.mark.parametrize("name", COMPLETE)
def test_every_complete_recipe_of_the_page_loads(tmp_path, name):
    path = UPath(tmp_path / f"{name}.yaml")
    path.write_text(COMPLETE[name])
    read = checked_family(path)[0] if "search" in yaml.safe_load(COMPLETE[name]) else load_recipe(path)
    assert read.name == name
