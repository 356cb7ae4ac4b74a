"""The program as a whole: version, speed, which deployment it acts on, and what a mistyped one gives."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

READING = [
    ("experiment", "list"),
    ("dataset", "list"),
    ("dataset", "freeze", "HUVEC"),
    ("model", "list"),
    ("model", "judge"),
    ("model", "foresee", "plain.v1"),
    ("leaderboard", "show"),
    ("annotation", "list"),
    ("artifact", "verify"),
    ("lake", "scan"),
    ("status",),
    ("sql", "SELECT 1"),
]


def test_the_version_is_that_of_the_package(run):
    assert run("--version") == f"cellassets {version('cellassets')}\n"


def test_wrong_usage_ends_with_status_2(call):
    assert call("model", "judje").status == 2
    assert call("sql", "SELECT 1", "--json", "--csv").status == 2
    assert call("model", "judge", "--override-reason", "it is needed now", "--approved-by", "M. Curie").status == 2


def test_the_program_refuses_without_a_traceback(tmp_path):
    command = [sys.executable, "-c", "from cellassets.cli import main; main()", "model", "list", "--home", "typo"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert answer.returncode == 1
    assert answer.stderr.startswith("ConfigError: no deployment here")
    assert "Traceback" not in answer.stderr


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom cellassets.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(answer.stdout.splitlines()[-1].split())
    heavy = {"numpy", "polars", "duckdb", "sqlalchemy", "mlflow", "torch", "dagster", "zarr", "scipy", "skimage"}
    assert heavy & loaded == set()


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_mistyped_home_is_refused_and_nothing_is_created(refused, tmp_path, command):
    told = refused(*command, "--home", tmp_path / "typo")
    assert "no deployment here" in told
    assert str(tmp_path / "typo/lake") in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_mistyped_home_in_the_environment_is_refused_and_nothing_is_created(refused, tmp_path, command):
    assert "no deployment here" in refused(*command, CELLASSETS_HOME=tmp_path / "typo")
    assert list(tmp_path.iterdir()) == []


def test_without_an_option_the_environment_says_where_everything_is(settled, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lake_alone = {
        "CELLASSETS_LAKE": settled / "lake",
        "CELLASSETS_LANDING": settled / "landing",
        "CELLASSETS_CONFIGS": settled / "configs",
        "MLFLOW_TRACKING_URI": f"sqlite:///{settled}/mlflow.db",
        "CELLASSETS_MODELS": (settled / "models").as_uri(),
    }
    for environment in ({"CELLASSETS_HOME": settled}, lake_alone):
        assert [row["key"] for row in json.loads(run("model", "list", "--json", **environment))] == ["plain.v1"]
        assert len(json.loads(run("experiment", "list", "--json", **environment))) == 2
        assert json.loads(run("status", "--json", **environment))[1]["n_done"] == 1
    assert list(Path().iterdir()) == []


def test_the_home_option_comes_before_the_environment(settled, run, refused, tmp_path):
    assert "plain.v1" in run("model", "list", "--home", settled, CELLASSETS_LAKE=tmp_path / "other")
    assert "no deployment here" in refused("model", "list", "--home", tmp_path / "typo", CELLASSETS_HOME=settled)


def test_empty_lists_say_what_to_do_next(run, tmp_path):
    (tmp_path / "home/landing").mkdir(parents=True)
    said = {noun: run(noun, "list", "--home", tmp_path / "home") for noun in ("experiment", "model", "annotation")}
    assert f"Copy one into {tmp_path / 'home/landing'}" in said["experiment"]
    assert "Add a recipe" in said["model"]
    assert "cellassets annotation add FILE" in said["annotation"]
    assert "as soon as its first experiment is stored" in run("dataset", "list", "--home", tmp_path / "home")
