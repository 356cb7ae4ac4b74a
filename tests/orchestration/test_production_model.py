"""`production_model` as people launch it: what is refused, and what a decision shows."""

import json
from pathlib import Path

import dagster as dg
import pytest
import yaml

from assets.production_model import CHECK, GateConfig, production_model
from cellassets.registry import Registry
from cellassets.storage.deployment import Deployment
from resources.places import DeploymentResource

GATE = {"deciding_datasets": ["HUVEC"], "guarded": [{"benchmark_name": "perturbation_magnitude"}]}


@pytest.fixture
def places(tmp_path):
    """A deployment with one registered model and no scores."""
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "gate.yaml").write_text(yaml.safe_dump(GATE))
    (configs / "policy.yaml").touch()
    places = {"deployment": DeploymentResource.of(Deployment.of({}, home=tmp_path, configs=configs))}
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "encoder.json").write_text(json.dumps({"kind": "classical"}))
    registry_of(places).register(folder, name="plain", run_id=None, tags={"kind": "classical"})
    return places


def registry_of(places) -> Registry:
    return Registry(places["deployment"].tracking_uri, places["deployment"].model_root)


def launch(places, **config) -> dg.ExecuteInProcessResult:
    run_config = dg.RunConfig(ops={"production_model": GateConfig(**config)})
    return dg.materialize([production_model], resources=places, run_config=run_config, raise_on_error=False)


def reason(result) -> str:
    return result.failure_data_for_node("production_model").user_failure_data.description


def champions(places) -> list[str]:
    return [entry.key for entry in registry_of(places).list_models() if "champion" in entry.aliases]


def test_what_cannot_be_judged_is_a_failure_that_says_what_to_do(places):
    assert "no model waits to be judged" in reason(launch(places))
    assert "model other.v1 is not in the registry" in reason(launch(places, candidate="other.v1"))
    assert "approved_by: this key is missing" in reason(
        launch(places, candidate="plain.v1", override_reason="it is needed")
    )
    (Path(places["deployment"].configs_root) / "gate.yaml").write_text(
        "deciding: nonsense\ndeciding_datasets: [HUVEC]\n"
    )
    assert "gate.yaml: not a valid GatePolicy: no benchmarks ['nonsense']" in reason(
        launch(places, candidate="plain.v1")
    )
    assert champions(places) == []


def test_a_model_without_scores_is_kept_out_and_an_override_shows_as_one(places):
    kept = launch(places, candidate="plain.v1")
    metadata = kept.asset_materializations_for_node("production_model")[0].metadata
    assert metadata["decision"].value == "kept"
    assert "known_relationships on HUVEC: no score" in metadata["comparisons"].value
    assert champions(places) == []

    forced = launch(
        places, candidate="plain.v1", approved_by="M. Curie", override_reason="the only model that reads six channels"
    )
    metadata = forced.asset_materializations_for_node("production_model")[0].metadata
    assert (metadata["decision"].value, metadata["approved_by"].value) == ("overridden", "M. Curie")
    assert metadata["override_reason"].value == "the only model that reads six channels"
    assert champions(places) == ["plain.v1"]
    evaluation = next(e for e in forced.get_asset_check_evaluations() if e.check_name == CHECK)
    assert not evaluation.passed
