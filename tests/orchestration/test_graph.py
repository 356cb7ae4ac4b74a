"""The asset graph: everything on it says what it is, and loading it costs nothing that it need not."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster_k8s.job import get_user_defined_k8s_config

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.definitions import build_definitions

DEFINITIONS = build_definitions()
SPECS = {spec.key.to_user_string(): spec for spec in DEFINITIONS.resolve_all_asset_specs()}
EXPECTED = {
    "raw_plates",
    "plate_store",
    "plate_quality",
    "checkpoint",
    "site_embeddings",
    "perturbation_map",
    "leaderboard",
    "model_report",
    "production_model",
    *(f"benchmark/{name}" for name in BENCHMARKS),
}
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
    assert name in checked


def test_definitions_are_valid():
    dg.Definitions.validate_loadable(DEFINITIONS)
    DEFINITIONS.get_repository_def().load_all_definitions()


def test_loading_the_definitions_imports_nothing_heavy():
    code = (
        "import sys, cellassets.definitions; "
        "print([m for m in ('torch', 'mlflow', 'numpy', 'polars', 'scipy', 'matplotlib', 'kubernetes') "
        "if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(SPECS))
def test_pod_settings_are_spelt_as_kubernetes_has_them(name):
    tags = {}
    for definition in DEFINITIONS.resolve_asset_graph().assets_defs:
        if name in {key.to_user_string() for key in definition.keys}:
            tags = dict(definition.op.tags)
    config = get_user_defined_k8s_config(tags)
    assert config.job_spec_config["backoff_limit"] == 0
    assert config.container_config["resources"]["requests"]["cpu"]
    assert config.container_config["security_context"]["allow_privilege_escalation"] is False


def test_gpu_work_asks_for_a_gpu_and_shares_a_pool():
    for name in ("checkpoint", "site_embeddings"):
        definition = DEFINITIONS.resolve_assets_def(name)
        config = get_user_defined_k8s_config(dict(definition.op.tags))
        assert config.container_config["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert definition.op.pool == "gpu"


def test_the_instance_file_is_one_that_dagster_takes(tmp_path):
    settings = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    with dg.instance_for_test(overrides=settings, temp_dir=str(tmp_path)) as instance:
        assert instance.run_retries_enabled
        assert instance.run_monitoring_enabled


def test_the_environment_names_the_places(monkeypatch, tmp_path):
    monkeypatch.setenv("CELLASSETS_HOME", str(tmp_path))
    monkeypatch.setenv("CELLASSETS_LAKE", "memory://elsewhere")
    resources = build_definitions().resources
    assert resources["landing"].root == str(tmp_path / "landing")
    assert str(resources["lake"].open().root) == "memory://elsewhere"
