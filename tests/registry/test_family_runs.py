"""The runs of a family in MLflow: the newest of each other variant, with its state and its curve so far."""

import shutil

import pytest

from cellassets.errors import RegistryError
from cellassets.registry import Registry
from cellassets.registry.family_runs import FamilyRuns

TAGS = {"family": "wide", "compared_with": "a"}


@pytest.fixture
def registry(empty_home, tmp_path):
    shutil.copytree(empty_home, tmp_path / "home")
    return Registry(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}", (tmp_path / "home/models").as_uri())


def trained(registry, name, *values, status="FINISHED", **tags):
    run_id = registry.start_run(name, parameters={}, tags={**TAGS, **tags})
    for epoch, value in enumerate(values, start=1):
        registry.log_metrics(run_id, {"validation_accuracy": value, "train_loss": 9.0}, step=epoch)
    if status != "RUNNING":
        registry.end_run(run_id, status)
    return run_id


def test_the_newest_run_of_every_other_comparable_variant_is_read(registry):
    trained(registry, "wide-a", 0.1, 0.2)
    trained(registry, "wide-a", 0.5, 0.6)
    trained(registry, "wide-b", 0.3, status="RUNNING")
    stopped = trained(registry, "wide-c", 0.05)
    registry.tag_run(stopped, {"outcome": "stopped"})
    trained(registry, "wide-own", 0.9)
    trained(registry, "wide-d", 0.9, compared_with="other data")
    trained(registry, "tall-a", 0.9, family="tall")
    family = FamilyRuns(registry, TAGS, "validation_accuracy", but="wide-own")
    found = {run.name: (run.status, run.outcome, run.curve) for run in family.read()}
    assert found == {
        "wide-a": ("FINISHED", "", {1: 0.5, 2: 0.6}),
        "wide-b": ("RUNNING", "", {1: 0.3}),
        "wide-c": ("FINISHED", "stopped", {1: 0.05}),
    }
    trained(registry, "wide-e", 0.7)
    assert {run.name for run in family.read()} == {*found, "wide-e"}


def test_a_registry_that_does_not_answer_is_asked_once(tmp_path):
    away = Registry("http://127.0.0.1:9", tmp_path.as_uri())
    with pytest.raises(RegistryError, match="does not answer"):
        FamilyRuns(away, TAGS, "validation_accuracy", but="wide-own").read()
