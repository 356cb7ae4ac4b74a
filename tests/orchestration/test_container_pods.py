"""The pod of a container encoder, without a cluster: what it asks for, and what its end means."""

import dagster as dg
import pytest
from dagster_k8s.pipes import build_pod_body
from kubernetes.client import (
    ApiClient,
    V1ContainerState,
    V1ContainerStateRunning,
    V1ContainerStateTerminated,
    V1ContainerStatus,
    V1Pod,
    V1PodStatus,
)

from cellassets.encoders.container.declaration import ContainerSpec, Running
from cellassets.encoders.container.encoder import Batch
from cellassets.encoders.container.settings import ContainerSettings
from cellassets.errors import EncoderError
from resources.container_pods import judge_pod, owned_by_the_run, pod_spec

IMAGE = "ghcr.io/lab/encoder@sha256:" + "a" * 64
SETTINGS = ContainerSettings(
    where="kubernetes",
    image_prefixes=("ghcr.io/lab/",),
    exchange="/exchange",
    volume_claim="claim",
    node_selector={"pool": "gpu"},
    tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
    image_pull_secrets=("registry",),
    priority_class="low",
)


def batch(tmp_path, image=IMAGE, **running):
    spec = ContainerSpec(image=image, local_command=("x",), n_channels=6, embedding_dim=2)
    return Batch(tmp_path / "batch-1", spec, Running(**running), "mine.v1 on HUVEC-1")


def test_the_pod_asks_for_what_was_declared_and_may_do_little(tmp_path):
    spec = pod_spec(SETTINGS, batch(tmp_path, n_cores=1.5, memory_gib=0.5, n_gpus=1, timeout_s=60), (1000, 1001))
    body = build_pod_body("name", None, None, {}, {"labels": {"a": "b"}}, spec)
    pod = ApiClient().sanitize_for_serialization(body)["spec"]
    (container,) = pod["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "1.5", "memory": "512Mi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "512Mi", "nvidia.com/gpu": "1"},
    }
    assert container["image"] == IMAGE
    assert [
        (mount["mountPath"], mount.get("subPath"), mount.get("readOnly")) for mount in container["volumeMounts"]
    ] == [
        ("/cellassets/input", "batch-1/input", True),
        ("/cellassets/output", "batch-1/output", False),
        ("/tmp", None, None),  # noqa: S108
    ]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (1000, 1001)
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    assert (pod["activeDeadlineSeconds"], pod["restartPolicy"], pod["priorityClassName"]) == (60, "Never", "low")
    assert pod["tolerations"] == [dict(toleration) for toleration in SETTINGS.tolerations]
    assert (pod["nodeSelector"], pod["imagePullSecrets"]) == ({"pool": "gpu"}, [{"name": "registry"}])


@pytest.mark.parametrize("image", [None, "ghcr.io/lab.evil/encoder@sha256:" + "a" * 64])
def test_an_image_that_is_not_allowed_is_refused(tmp_path, image):
    with pytest.raises(EncoderError, match=r"the model has no image|is not allowed here; expected one of ghcr.io/lab/"):
        pod_spec(SETTINGS, batch(tmp_path, image), (1000, 1000))


def test_the_pod_belongs_to_the_pod_of_the_run():
    environment = {"CELLASSETS_POD_NAME": "run-1", "CELLASSETS_POD_UID": "42"}
    reference = {"api_version": "v1", "kind": "Pod", "name": "run-1", "uid": "42"}
    assert owned_by_the_run(environment) == {"owner_references": [reference]}
    assert owned_by_the_run({}) == {}


def pod(*, reason=None, exit_code=None, container_reason=None):
    ended = V1ContainerStateTerminated(exit_code=exit_code, reason=container_reason) if exit_code is not None else None
    state = V1ContainerState(terminated=ended, running=None if ended else V1ContainerStateRunning())
    status = V1ContainerStatus(image="", image_id="", name="encoder", ready=False, restart_count=0, state=state)
    return V1Pod(status=V1PodStatus(reason=reason, container_statuses=[status]))


@pytest.mark.parametrize(
    ("ended", "message"),
    [
        (pod(exit_code=3), "exit status 3; expected 0"),
        (pod(exit_code=137, container_reason="OOMKilled"), "OOMKilled: it needs more memory than memory_gib"),
        (pod(reason="DeadlineExceeded"), "DeadlineExceeded: it took longer than timeout_s"),
        (pod(reason="DeadlineExceeded", exit_code=137), "DeadlineExceeded"),
    ],
)
def test_a_process_that_failed_for_good_is_refused(ended, message):
    with pytest.raises(EncoderError, match=message):
        judge_pod("mine.v1 on HUVEC-1", ended, "details")


def test_a_process_that_was_interrupted_is_tried_again():
    for exit_code in (75, 143, 137):
        with pytest.raises(dg.RetryRequested):
            judge_pod("mine.v1 on HUVEC-1", pod(exit_code=exit_code), "details")


@pytest.mark.parametrize(
    "ended", [None, pod(), pod(reason="Evicted", exit_code=137), pod(reason="Shutdown", exit_code=1)]
)
def test_a_pod_that_was_taken_away_is_no_fault_of_its_process(ended):
    assert judge_pod("mine.v1 on HUVEC-1", ended, "details") is None
