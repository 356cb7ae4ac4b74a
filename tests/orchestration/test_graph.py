"""The asset graph: everything on it says what it is, and loading it costs nothing that it need not."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster_k8s.job import get_user_defined_k8s_config

from assets.inputs import INPUTS
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.definitions import build_definitions
from resources.run_coordinator import PooledRunCoordinator, pool_tags, priority_tags

DEFINITIONS = build_definitions()
SPECS = {spec.key.to_user_string(): spec for spec in DEFINITIONS.resolve_all_asset_specs()}
EXPECTED = {
    "raw_plates",
    "plate_store",
    "plate_quality",
    "checkpoint",
    "site_embeddings",
    "perturbation_map",
    "map_clusters",
    "active_perturbations",
    "leaderboard",
    "model_report",
    "production_model",
    *(f"benchmark/{name}" for name in BENCHMARKS),
}
INPUT_NAMES = {spec.key.to_user_string() for spec in INPUTS}
REPOSITORY = Path(__file__).parents[2]


def test_every_asset_of_the_design_is_there():
    assert set(SPECS) >= EXPECTED


@pytest.mark.parametrize("name", sorted(SPECS))
def test_an_asset_says_what_it_is_and_whose(name):
    spec = SPECS[name]
    checked = {key.asset_key.to_user_string() for key in DEFINITIONS.resolve_asset_graph().asset_check_keys}
    assert spec.owners
    assert spec.group_name not in (None, "default")
    assert spec.description
    assert spec.kinds
    assert name in checked or name in INPUT_NAMES


def test_definitions_are_valid():
    dg.Definitions.validate_loadable(DEFINITIONS)
    DEFINITIONS.get_repository_def().load_all_definitions()


def test_loading_the_definitions_imports_nothing_heavy():
    code = (
        "import sys, cellassets.definitions; "
        "print([m for m in ('torch', 'mlflow', 'numpy', 'polars', 'scipy', 'altair', 'kubernetes') "
        "if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(set(SPECS) - INPUT_NAMES))
def test_pod_settings_are_spelt_as_kubernetes_has_them(name):
    tags = {}
    for definition in DEFINITIONS.resolve_asset_graph().assets_defs:
        if name in {key.to_user_string() for key in definition.keys}:
            tags = dict(definition.op.tags)
    config = get_user_defined_k8s_config(tags)
    assert config.job_spec_config["backoff_limit"] == 0
    assert config.container_config["resources"]["requests"]["cpu"]
    assert config.container_config["security_context"]["allow_privilege_escalation"] is False


def test_gpu_work_asks_for_a_gpu():
    for name in ("checkpoint", "site_embeddings"):
        config = get_user_defined_k8s_config(dict(DEFINITIONS.resolve_assets_def(name).op.tags))
        assert config.container_config["resources"]["limits"]["nvidia.com/gpu"] == "1"


def run_of(asset: str, partition: str, **tags: str) -> dg.DagsterRun:
    key = frozenset({dg.AssetKey(asset.split("/"))})
    return dg.DagsterRun("job", asset_selection=key, tags={"dagster/partition": partition, **tags})


def test_networks_wait_for_the_gpu_pool_and_classical_features_do_not(tmp_path):
    (tmp_path / "recipes").mkdir()
    for name, kind in (("deep", "network"), ("plain", "classical")):
        (tmp_path / "recipes" / f"{name}.yaml").write_text(f"kind: {kind}\n")
    place = {"CELLASSETS_CONFIGS": str(tmp_path)}
    assert pool_tags(run_of("checkpoint", "deep"), place) == {"cellassets/pool": "gpu"}
    assert pool_tags(run_of("checkpoint", "plain"), place) == {"cellassets/pool": "cpu"}
    assert pool_tags(run_of("site_embeddings", "E-1|deep.v3"), place) == {"cellassets/pool": "gpu"}
    assert pool_tags(run_of("site_embeddings", "E-1|plain.v1"), place) == {"cellassets/pool": "cpu"}
    assert pool_tags(run_of("site_embeddings", "E-1|from_elsewhere.v1"), place) == {"cellassets/pool": "gpu"}
    assert pool_tags(run_of("site_embeddings", "E-1|deep.v3", **{"cellassets/pool": "mine"}), place) == {}
    assert pool_tags(run_of("plate_store", "E-1"), place) == {}


def test_what_all_later_work_waits_for_goes_first():
    assert priority_tags(run_of("checkpoint", "deep")) == {"dagster/priority": "2"}
    assert priority_tags(run_of("raw_plates", "E-1")) == {"dagster/priority": "1"}
    assert priority_tags(run_of("raw_plates", "E-1", **{"dagster/priority": "-3"})) == {}
    assert priority_tags(run_of("site_embeddings", "E-1|deep.v3")) == {}


def test_a_queued_run_carries_its_pool(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "plain.yaml").write_text("kind: classical\n")
    monkeypatch.setenv("CELLASSETS_CONFIGS", str(tmp_path))
    settings = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    with dg.instance_for_test(overrides=settings, temp_dir=str(tmp_path)) as instance:
        assert isinstance(instance.run_coordinator, PooledRunCoordinator)
        limits = instance.get_concurrency_config().run_queue_config.tag_concurrency_limits
        assert [limit["value"] for limit in limits] == ["gpu"]


def test_the_instance_file_is_one_that_dagster_takes(tmp_path):
    settings = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    with dg.instance_for_test(overrides=settings, temp_dir=str(tmp_path)) as instance:
        assert instance.run_retries_enabled
        assert instance.run_monitoring_enabled


def test_the_environment_names_the_places(monkeypatch, tmp_path):
    monkeypatch.setenv("CELLASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("CELLASSETS_LAKE", "memory://elsewhere")
    resources = build_definitions().resources
    assert str(resources["deployment"].open().landing) == str(tmp_path / "landing")
    assert str(resources["deployment"].open().lake.root) == "memory://elsewhere"
