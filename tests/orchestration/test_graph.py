"""The asset graph: everything on it says what it is, and loading it costs nothing that it need not."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from assets.inputs import INPUTS
from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.definitions import build_definitions
from resources.pods import open_pods
from resources.run_coordinator import PooledRunCoordinator, limit_tags, pool_tags

DEFINITIONS = build_definitions()
SPECS = {spec.key.to_user_string(): spec for spec in DEFINITIONS.resolve_all_asset_specs()}
EXPECTED = {
    "raw_plates",
    "plate_store",
    "plate_quality",
    "checkpoint",
    "search",
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


def run_of(asset: str, partition: str, **tags: str) -> dg.DagsterRun:
    key = frozenset({dg.AssetKey(asset.split("/"))})
    return dg.DagsterRun("job", asset_selection=key, tags={"dagster/partition": partition, **tags})


def test_networks_wait_for_the_gpu_pool_and_classical_features_do_not(tmp_path):
    (tmp_path / "recipes").mkdir()
    for name, kind in (("deep", "network"), ("plain", "classical")):
        (tmp_path / "recipes" / f"{name}.yaml").write_text(f"kind: {kind}\n")
    place = {"CELLASSETS_CONFIGS": str(tmp_path)}

    def pool(asset: str, partition: str, **tags: str) -> str | None:
        return pool_tags(run_of(asset, partition, **tags), [asset], place).get("cellassets/pool")

    assert pool("checkpoint", "deep") == "gpu"
    assert pool("checkpoint", "plain") == "cpu"
    assert pool("site_embeddings", "E-1|deep.v3") == "gpu"
    assert pool("site_embeddings", "E-1|plain.v1") == "cpu"
    assert pool("site_embeddings", "E-1|from_elsewhere.v1") == "gpu"
    assert pool("site_embeddings", "E-1|deep.v3", **{"cellassets/pool": "mine"}) is None
    assert pool("plate_store", "E-1") is None


def test_what_all_later_work_waits_for_goes_first():
    pods = open_pods({})
    assert limit_tags({}, ["checkpoint"], pods)["dagster/priority"] == "2"
    assert limit_tags({}, ["raw_plates", "plate_quality"], pods)["dagster/priority"] == "1"
    assert limit_tags({}, ["site_embeddings"], pods)["dagster/priority"] == "0"
    assert "dagster/priority" not in limit_tags({"dagster/priority": "-3"}, ["raw_plates"], pods)
    assert limit_tags({}, [], pods) == {}


def test_limits_of_a_run_come_from_the_table_of_pods():
    pods = open_pods({})
    assert limit_tags({}, ["checkpoint"], pods)["dagster/max_runtime"] == str(48 * 3600)
    assert limit_tags({"cellassets/pool": "cpu"}, ["checkpoint"], pods)["dagster/max_runtime"] == str(6 * 3600)
    assert limit_tags({}, ["checkpoint"], pods)["dagster/max_retries"] == "20"
    assert "dagster/max_retries" not in limit_tags({"dagster/max_retries": "0"}, ["checkpoint"], pods)


def test_runs_without_a_pod_are_limited_by_the_instance_alone():
    assert limit_tags({}, ["checkpoint"], open_pods({}), has_pod=False) == {"dagster/priority": "2"}


def test_a_queued_run_carries_its_pool(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "plain.yaml").write_text("kind: classical\n")
    monkeypatch.setenv("CELLASSETS_CONFIGS", str(tmp_path))
    settings = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    with dg.instance_for_test(overrides=settings, temp_dir=str(tmp_path)) as instance:
        assert isinstance(instance.run_coordinator, PooledRunCoordinator)
        limits = instance.get_concurrency_config().run_queue_config.tag_concurrency_limits
        assert [limit["value"] for limit in limits] == ["gpu", {"applyLimitPerUniqueValue": True}]


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
