"""The table of pods: which file wins, what is refused, and what one pod of several stages requests."""

import json

import dagster as dg
import pytest
from dagster_k8s.job import get_user_defined_k8s_config

from cellassets.definitions import build_definitions
from cellassets.errors import ConfigError
from cellassets.stages.catalogue import stages
from resources.launcher import pod_settings
from resources.pods import largest, open_pods
from resources.runs import pod_of, pod_tag, stages_of


@pytest.fixture
def changed(tmp_path):
    """Returns the table with a deployment's changes."""

    def change(text: str):
        path = tmp_path / f"pods_{abs(hash(text))}.yaml"
        path.write_text(text)
        return open_pods({"CELLASSETS_PODS": str(path)})

    return change


@pytest.mark.parametrize("name", sorted(stages()))
def test_every_stage_has_settings_that_kubernetes_knows(name):
    request = open_pods({}).request(name)
    settings = pod_settings(request, start_timeout_s=60.0)
    config = get_user_defined_k8s_config({"dagster-k8s/config": json.dumps(settings)})
    assert config.job_spec_config["backoff_limit"] == 0
    assert config.container_config["resources"]["limits"] == config.container_config["resources"]["requests"]
    assert config.pod_spec_config["service_account_name"] == "cellassets-run"


def test_only_encoders_that_need_a_gpu_request_one():
    pods = open_pods({})
    asked = {name for name in stages() if pods.request(name).gpus}
    assert asked == {"checkpoint", "site_embeddings"}
    for name in asked:
        without = pods.request(name, needs_gpu=False)
        assert without.gpus == 0
        assert without.tolerations == ()
        assert without.priority_class == "cellassets-normal"


def test_a_deployment_changes_fields_and_keeps_the_others(changed):
    text = """
all_stages: {cores: 0.5}
gpu_stages: {node_selector: {gpu: "true"}}
stages:
  checkpoint: {memory_gib: 7}
  benchmark: {memory_gib: 5}
  benchmark/perturbation_magnitude: {memory_gib: 9}
"""
    pods = changed(text)
    assert pods.request("checkpoint").cores == 0.5
    assert pods.request("checkpoint").memory_gib == 7
    assert pods.request("checkpoint").max_hours == open_pods({}).request("checkpoint").max_hours
    assert pods.request("checkpoint").node_selector == {"gpu": "true"}
    assert pods.request("checkpoint", needs_gpu=False).node_selector == {}
    assert pods.request("benchmark/known_relationships").memory_gib == 5
    assert pods.request("benchmark/perturbation_magnitude").memory_gib == 9


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("all_stages: {memry_gib: 3}", "memry_gib"),
        ("stages: {checkpoint: {gpu: 1}}", "stages.checkpoint.gpu"),
        ("stages: {chekpoint: {gpus: 1}}", "chekpoint"),
        ("stages: {checkpoint: {tolerations: [{key: a, opertor: Exists}]}}", "opertor"),
        ("stages: {checkpoint_without_gpu: {gpus: 1}}", "checkpoint_without_gpu"),
        ("stages: {raw_plates: {cores: 0}}", "cores"),
        ("stages: {raw_plates: {retries: -1}}", "retries"),
        ("stages: {raw_plates: {service_account: ''}}", "service_account"),
        ("stage: {}", "stage"),
    ],
)
def test_what_does_not_exist_is_refused_by_its_name(changed, text, named):
    with pytest.raises(ConfigError, match=named):
        changed(text)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        open_pods({"CELLASSETS_PODS": str(tmp_path / "nowhere.yaml")})


def test_one_pod_of_several_stages_gets_the_most_of_each():
    pods = open_pods({})
    both = largest([pods.request("plate_store"), pods.request("perturbation_map"), pods.request("checkpoint")])
    assert (both.gpus, both.cores, both.memory_gib) == (1, 8, 32)
    assert both.priority_class == "cellassets-gpu"
    maps = largest([pods.request("perturbation_map"), pods.request("leaderboard")])
    assert (maps.cores, maps.memory_gib, maps.gpus) == (2, 8, 0)


def test_stages_that_exclude_each_other_are_refused(changed):
    pods = changed("stages: {leaderboard: {image: a}, model_report: {image: b, node_selector: {zone: x}}}")
    with pytest.raises(ConfigError, match="separate runs"):
        largest([pods.request("leaderboard"), pods.request("model_report")])
    pods = changed("stages: {leaderboard: {node_selector: {zone: y}}, model_report: {node_selector: {zone: x}}}")
    with pytest.raises(ConfigError, match="zone y and x"):
        largest([pods.request("leaderboard"), pods.request("model_report")])


def test_a_run_of_a_whole_job_is_about_the_assets_of_the_job():
    definitions = build_definitions()
    with dg.instance_for_test() as instance:
        job = definitions.resolve_job_def("embed")
        run = instance.create_run_for_job(job)
        assert run.asset_selection is None
        assert stages_of(run, instance) == ["site_embeddings"]


def test_a_run_knows_what_its_pod_got_without_the_table_of_its_deployment(changed):
    given = changed("all_stages: {cores: 0.5, memory_gib: 3}").request("leaderboard")
    run = dg.DagsterRun("job", asset_selection=frozenset({dg.AssetKey("leaderboard")}), tags=pod_tag(given))
    with dg.instance_for_test() as instance:
        assert pod_of(run, instance, {}).cores == 0.5
        assert pod_of(run, instance, {}).memory_gib == 3
        assert pod_of(run.with_tags({}), instance, {}).cores == open_pods({}).request("leaderboard").cores


def test_a_stage_that_starts_pods_gets_a_token_and_its_volume(changed):
    row = "{service_account: cellassets-embed, has_api_token: true, volume_claims: {/exchange: cellassets-exchange}}"
    pods = changed(f"stages: {{site_embeddings_without_gpu: {row}}}")
    request = pods.request("site_embeddings", needs_gpu=False)
    config = get_user_defined_k8s_config({"dagster-k8s/config": json.dumps(pod_settings(request, start_timeout_s=1.0))})
    assert config.pod_spec_config["automount_service_account_token"] is True
    [volume] = config.pod_spec_config["volumes"]
    assert volume["persistent_volume_claim"] == {"claim_name": "cellassets-exchange"}
    assert config.container_config["volume_mounts"] == [{"name": volume["name"], "mount_path": "/exchange"}]
    others = pod_settings(pods.request("leaderboard"), start_timeout_s=1.0)
    assert "automount_service_account_token" not in others["pod_spec_config"]
