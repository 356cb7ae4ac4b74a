"""The whole line in pods, from landing to report, and what each pod got, whoever started its run."""

import pytest
import yaml

from resources.pods import Pods, PodTable, largest

pytestmark = [pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def table(repository) -> Pods:
    """The table of pods of this deployment."""
    files = (repository / "resources" / "pods.yaml", repository / "deploy/kustomize/overlays/test/pods.yaml")
    return Pods((path.name, PodTable.model_validate(yaml.safe_load(path.read_text()))) for path in files)


def bytes_of(quantity: str) -> int:
    """An amount of memory as Kubernetes writes it, in bytes."""
    return int(quantity[:-2]) << {"Ki": 10, "Mi": 20, "Gi": 30}[quantity[-2:]]


def assert_pod_fits(platform, table, run) -> None:
    """The pod of a run has exactly what the table says of the run's stages."""
    needs_gpu = run["tags"].get("cellassets/pool") != "cpu"
    expected = largest([table.request(asset, needs_gpu=needs_gpu) for asset in run["assets"]])
    pods = platform.cluster.pods_of_run(run["runId"])
    assert pods, f"no pod of {run}"
    for pod in pods:
        [container] = pod["spec"]["containers"]
        limits = container["resources"]["limits"]
        assert container["resources"]["requests"] == limits
        assert bytes_of(limits["memory"]) == round(expected.memory_gib * 1024) << 20
        assert float(limits["cpu"].removesuffix("m")) * (0.001 if "m" in limits["cpu"] else 1) == expected.cores
        assert limits.get("nvidia.com/gpu") == (str(expected.gpus) if expected.gpus else None)
        assert pod["spec"]["serviceAccountName"] == expected.service_account
        assert pod["spec"]["priorityClassName"] == expected.priority_class
        tolerated = {(toleration.get("key"), toleration.get("operator")) for toleration in pod["spec"]["tolerations"]}
        assert tolerated >= {(toleration.key, toleration.operator) for toleration in expected.tolerations}


def test_what_sensors_ask_for_runs_with_what_its_stages_request(landed, table):
    runs = [run for run in landed.runs() if run["status"] == "SUCCESS"]
    assets = {asset for run in runs for asset in run["assets"]}
    assert assets >= {"raw_plates", "plate_store", "plate_quality", "checkpoint", "site_embeddings", "perturbation_map"}
    for run in runs:
        assert_pod_fits(landed, table, run)


def test_networks_get_a_gpu_and_classical_features_do_not(landed):
    gpus = {}
    for run in landed.runs(asset="site_embeddings"):
        if run["status"] != "SUCCESS":
            continue
        [container] = landed.cluster.pods_of_run(run["runId"])[0]["spec"]["containers"]
        partition = run["tags"].get("dagster/partition") or run["tags"]["dagster/asset_partition_range_start"]
        gpus[partition.split("|")[1]] = container["resources"]["limits"].get("nvidia.com/gpu")
    assert gpus == {"classical.v1": None, "tiny_network.v1": "1"}


def test_a_click_and_a_backfill_get_the_same(landed, table):
    clicked = landed.launch("site_embeddings", "HUVEC-1|tiny_network.v1")
    landed.backfill("perturbation_map", ["HUVEC|classical.v1"])
    landed.wait("the clicked run ends", lambda: landed.status(clicked) == "SUCCESS", timeout_s=300)
    backfilled = landed.wait(
        "the backfill's run ends",
        lambda: [
            run
            for run in landed.runs(asset="perturbation_map")
            if "dagster/backfill" in run["tags"] and run["status"] == "SUCCESS"
        ],
        timeout_s=300,
    )
    for run in [*backfilled, *(run for run in landed.runs() if run["runId"] == clicked)]:
        assert_pod_fits(landed, table, run)


def test_an_explicit_tag_wins(landed):
    own = '{"container_config": {"resources": {"limits": {"memory": "1700Mi"}, "requests": {"memory": "1700Mi"}}}}'
    run_id = landed.launch("leaderboard", **{"dagster-k8s/config": own})
    landed.wait("the run ends", lambda: landed.status(run_id) == "SUCCESS", timeout_s=300)
    [container] = landed.cluster.pods_of_run(run_id)[0]["spec"]["containers"]
    assert container["resources"]["limits"]["memory"] == "1700Mi"
    assert container["resources"]["limits"]["cpu"] == "500m"


def test_every_run_names_its_image(landed):
    for run in landed.runs():
        if run["status"] == "SUCCESS":
            [container] = landed.cluster.pods_of_run(run["runId"])[0]["spec"]["containers"]
            assert run["tags"]["dagster/image"] == container["image"]


def test_a_gpu_run_waits_for_a_gpu_and_a_cpu_run_does_not(landed):
    landed.cluster.set_gpus(0)
    try:
        waiting = landed.launch("site_embeddings", "HUVEC-2|tiny_network.v1")
        running = landed.launch("site_embeddings", "HUVEC-2|classical.v1")
        landed.wait("the run without a GPU ends", lambda: landed.status(running) == "SUCCESS", timeout_s=300)
        [pod] = landed.cluster.pods_of_run(waiting)
        assert pod["status"]["phase"] == "Pending"
        [reason] = [c for c in pod["status"]["conditions"] if c["type"] == "PodScheduled"]
        assert "nvidia.com/gpu" in reason["message"]
    finally:
        landed.cluster.set_gpus(1)
    landed.wait("the run starts when there is a GPU", lambda: landed.status(waiting) == "SUCCESS", timeout_s=300)


def test_a_lost_pod_is_made_up_for_by_a_new_run_and_leaves_nothing_behind(landed):
    run_id = landed.launch("site_embeddings", "HUVEC-2|tiny_network.v1")
    landed.wait("the run starts", lambda: landed.status(run_id) == "STARTED", timeout_s=300)
    landed.cluster.kubectl("delete", "pods", "-l", f"dagster/run-id={run_id}", "--grace-period=0", "--force")
    retried = landed.wait(
        "a retry ends",
        lambda: [r for r in landed.runs() if r["parentRunId"] == run_id and r["status"] == "SUCCESS"],
        timeout_s=600,
    )
    assert len(retried) == 1
    assert landed.status(run_id) == "FAILURE"
    landed.wait("nothing is left of the lost run", lambda: not landed.cluster.pods_of_run(run_id), timeout_s=60)


def test_a_run_that_needs_more_memory_gets_it(landed):
    run_id = landed.launch("leaderboard", **{"cellassets/memory_gib": "0.12"})
    end = landed.wait(
        "an attempt with more memory ends",
        lambda: [
            r
            for r in landed.runs(asset="leaderboard")
            if r["tags"].get("dagster/root_run_id") == run_id and r["status"] == "SUCCESS"
        ],
        timeout_s=900,
    )
    assert float(end[0]["tags"]["cellassets/memory_gib"]) >= 0.24
    assert landed.status(run_id) == "FAILURE"


def test_at_the_limit_it_stops_and_says_so(landed):
    small = '{"container_config": {"resources": {"limits": {"memory": "64Mi"}, "requests": {"memory": "64Mi"}}}}'
    run_id = landed.launch("leaderboard", **{"cellassets/memory_gib": "3", "dagster-k8s/config": small})
    landed.wait("the run fails", lambda: landed.status(run_id) == "FAILURE", timeout_s=300)
    assert "raise max_memory_gib" in landed.events(run_id)
    assert not [run for run in landed.runs() if run["parentRunId"] == run_id]


def test_models_name_the_image_that_they_were_trained_in(landed):
    [run, *_] = landed.runs(asset="checkpoint")
    models = [model for model in landed.models() if model["name"] in ("classical", "tiny_network")]
    assert len(models) == 2
    for model in models:
        assert {tag["key"]: tag["value"] for tag in model["tags"]}["image"] == run["tags"]["dagster/image"]


def test_costs_count_what_the_pods_got(landed):
    rows = landed.select("SELECT asset, cores, memory_gib, gpus, wall_s FROM attempts WHERE outcome = 'made'")
    found = {row["asset"]: row for row in rows}
    assert {"raw_plates", "checkpoint", "leaderboard"} <= set(found)
    assert {row["cores"] for row in rows} == {0.5}
    assert found["leaderboard"]["memory_gib"] == 1.5
    assert all(row["wall_s"] > 0 for row in rows)
