"""Where everything is: environment, home, and the settings folder that a home remembers."""

import shutil

import pytest
from upath import UPath

from cellassets.errors import ConfigError
from cellassets.storage.deployment import CONFIGS_BESIDE, Deployment, Home

PRODUCTION = {
    "CELLASSETS_LAKE": "gs://bucket/lake",
    "CELLASSETS_CATALOGUE": "postgresql+psycopg2://user@host/catalogue",
    "CELLASSETS_LANDING": "gs://bucket/landing",
    "CELLASSETS_WORK": "/scratch",
    "CELLASSETS_CONFIGS": "/configs",
    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    "CELLASSETS_MODELS": "gs://bucket/models",
    "CELLASSETS_IMAGE": "registry/cellassets@sha256:00",
    "CELLASSETS_UI_URL": "https://dagster.example/",
    "CELLASSETS_MLFLOW_URL": "https://mlflow.example",
}


@pytest.fixture
def home(tmp_path) -> Home:
    for name in ("home/lake", "home/settings", "elsewhere", "other"):
        (tmp_path / name).mkdir(parents=True)
    return Home(tmp_path / "home")


def test_every_variable_of_the_environment_counts():
    found = Deployment.of(PRODUCTION)
    assert found.environment() == PRODUCTION
    assert Deployment.of({"CELLASSETS_HOME": "/somewhere", **found.environment()}) == found


def test_links_lead_to_a_partition_in_dagster_and_to_a_run_in_mlflow():
    found = Deployment.of(PRODUCTION)
    assert found.partition_link("checkpoint", "a b") == "https://dagster.example/assets/checkpoint?partition=a%20b"
    assert found.mlflow_link("1a") == "https://mlflow.example/#/runs/1a"
    without = Deployment.of({})
    assert without.partition_link("checkpoint", "a") is without.mlflow_link("1a") is None


def test_the_environment_of_a_local_deployment_names_the_same_deployment(home):
    found = Deployment.of({}, home=home.root)
    assert found.lake_root == str(home.lake)
    assert Deployment.of({**PRODUCTION, **found.environment()}) == found


def test_a_home_remembers_its_settings_folder(home, tmp_path):
    assert Deployment.of({}, home=home.root).configs_root == str(CONFIGS_BESIDE)
    home.remember_configs(tmp_path / "elsewhere")
    assert Deployment.of({}, home=home.root).configs == UPath(tmp_path / "elsewhere")
    assert Deployment.of({"CELLASSETS_HOME": str(home.root)}).configs == UPath(tmp_path / "elsewhere")


def test_option_and_variable_come_before_what_the_home_remembers(home, tmp_path):
    home.remember_configs(tmp_path / "gone")
    environment = {"CELLASSETS_CONFIGS": str(tmp_path / "elsewhere")}
    assert Deployment.of(environment, home=home.root).configs_root == str(tmp_path / "elsewhere")
    found = Deployment.of(environment, home=home.root, configs=tmp_path / "other")
    assert found.configs_root == str(tmp_path / "other")


@pytest.mark.parametrize("name", ["home/settings", "elsewhere"])
def test_a_moved_home_still_finds_its_settings_inside_and_outside(home, tmp_path, name):
    home.remember_configs(tmp_path / name)
    shutil.move(home.root, tmp_path / "moved")
    moved = name.replace("home", "moved")
    assert Deployment.of({}, home=tmp_path / "moved").configs == UPath(tmp_path / moved)


def test_a_remembered_folder_that_is_gone_is_named(home, tmp_path):
    home.remember_configs(tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"deployment\.yaml: configs: the folder .*gone does not exist.*--configs"):
        Deployment.of({}, home=home.root)


def test_what_a_home_remembers_does_not_count_for_a_lake_elsewhere(home, tmp_path):
    home.remember_configs(tmp_path / "elsewhere")
    environment = {"CELLASSETS_HOME": str(home.root), "CELLASSETS_LAKE": "gs://bucket/lake"}
    assert Deployment.of(environment).configs_root == str(CONFIGS_BESIDE)


def test_a_deployment_that_does_not_exist_is_refused_and_not_created(tmp_path):
    with pytest.raises(ConfigError, match="no deployment here"):
        Deployment.of({}, home=tmp_path / "typo").require()
    assert list(tmp_path.iterdir()) == []
