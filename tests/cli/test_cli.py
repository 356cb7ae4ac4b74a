"""The command line: what goes to stdout, what is refused, and with which exit status."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cellassets.cli import app
from cellassets.synthetic.presets import tiny_design

REPOSITORY = Path(__file__).parents[2]


def run(*arguments) -> str:
    answer = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def refused(*arguments) -> str:
    """Stderr of a command that ends with status 1, as a shell has it."""
    command = [Path(sys.executable).with_name("cellassets"), *map(str, arguments)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    return answer.stderr


@pytest.fixture(scope="module")
def landing(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("screen")
    design = tiny_design(image_size=64, cell_types=[{"name": "HUVEC", "n_experiments": 1}])
    (folder / "design.yaml").write_text(yaml.safe_dump(design.model_dump(mode="json")))
    run("screen", "simulate", folder / "landing", "--design", folder / "design.yaml")
    return folder / "landing"


def test_a_simulated_screen_lands_complete_and_checks_clean(landing):
    assert (landing / "HUVEC-1/_COMPLETE").exists()
    assert (landing.parent / "truth").is_dir()
    assert json.loads(run("experiment", "check", landing, "HUVEC-1", "--json")) == []


def test_a_damaged_image_is_named_and_the_status_is_1(landing):
    image = next((landing / "HUVEC-1/Plate1").glob("*.png"))
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    answer = CliRunner().invoke(app, ["experiment", "check", str(landing), "HUVEC-1", "--json"])
    image.write_bytes(whole)
    assert answer.exit_code == 1
    (finding,) = json.loads(answer.stdout)
    assert finding["path"].endswith(image.name)


def documented_recipes() -> dict[str, str]:
    text = (REPOSITORY / "docs/add-a-recipe.md").read_text()
    return dict(re.findall(r"```yaml\n# configs/recipes/(\w+)\.yaml\n(.*?)```", text, re.DOTALL))


@pytest.mark.parametrize("name", ["resnet_wide", "classical_coarse"])
def test_the_documented_recipes_are_valid(name, tmp_path):
    path = tmp_path / f"{name}.yaml"
    path.write_text(documented_recipes()[name])
    shown, written = yaml.safe_load(run("recipe", "check", path)), yaml.safe_load(path.read_text())
    assert shown["name"] == name
    assert {key: shown[key] for key, value in written.items() if not isinstance(value, dict)} == {
        key: value for key, value in written.items() if not isinstance(value, dict)
    }


def test_a_wrong_recipe_is_refused_with_the_file_and_the_key(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("kind: network\ntrain_experiments: [A]\nvalidation_experiments: [B]\nepochs: 3\n")
    message = refused("recipe", "check", path)
    assert str(path) in message
    assert "epochs" in message


def test_annotations_are_checked_before_they_are_added(tmp_path):
    good, bad = tmp_path / "pairs.csv", tmp_path / "wrong.csv"
    good.write_text("entity1,entity2\nA,B\n")
    bad.write_text("gene1,gene2\nA,B\n")
    home = tmp_path / "home"
    assert Path(run("annotation", "add", good, "--home", home).strip()).read_text() == good.read_text()
    assert "expected one of: entity1, entity2 (pairs)" in refused("annotation", "add", bad, "--home", home)
    twin = tmp_path / "pairs.txt"
    twin.write_text(good.read_text())
    assert "a source of this name already" in refused("annotation", "add", twin, "--home", home)
    assert [path.name for path in (home / "lake/annotations").iterdir()] == ["pairs.csv"]


def test_what_is_not_there_is_said_in_one_line(tmp_path):
    assert "materialise this asset's partition first" in refused("leaderboard", "show", "--home", tmp_path)


def test_status_and_sql_of_an_empty_deployment(tmp_path):
    stands = json.loads(run("status", "--home", tmp_path, "--json"))
    assert {stand["what"]: stand["n_done"] for stand in stands}["leaderboard"] == 0
    assert json.loads(run("sql", "SELECT 1 AS one", "--home", tmp_path, "--json")) == [{"one": 1}]


def test_a_data_set_that_cannot_be_used_is_named_and_the_status_is_1(tmp_path):
    (tmp_path / "configs/datasets").mkdir(parents=True)
    (tmp_path / "configs/datasets/old.yaml").write_text("experiment_ids: [HUVEC-9]\nfrozen_fingerprint: abc\n")
    told = refused("dataset", "list", "--home", tmp_path / "home", "--configs", tmp_path / "configs")
    assert "data set old" in told
    assert "HUVEC-9" in told


def test_an_annotation_with_a_suffix_that_nobody_reads_is_refused(tmp_path):
    (tmp_path / "pairs.CSV").write_text("entity1,entity2\nA,B\n")
    told = refused("annotation", "add", tmp_path / "pairs.CSV", "--home", tmp_path / "home")
    assert "suffix '.CSV'; expected one of .csv" in " ".join(told.split())
    assert not (tmp_path / "home/lake/annotations/pairs.CSV").exists()
