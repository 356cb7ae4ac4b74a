"""The launcher of pods, where Kubernetes' API refuses a run's job."""

import json
from types import SimpleNamespace

import dagster as dg
import pytest
import yaml
from dagster._core.launcher import LaunchRunContext
from dagster_k8s.client import DagsterK8sUnrecoverableAPIError
from kubernetes.client.exceptions import ApiException

from resources.launcher import StagePodLauncher

KUBECONFIG = {
    "clusters": [{"name": "test", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "test", "user": {}}],
    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    "current-context": "test",
}


@dg.job
def job():
    pass


@pytest.fixture
def instance():
    with dg.instance_for_test() as opened:
        yield opened


@pytest.fixture
def launch(instance, tmp_path):
    """Launches a run and returns its status; Kubernetes refuses to create its job."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(KUBECONFIG))

    def start(status: int, reason: str) -> dg.DagsterRunStatus:
        def refuse(**_: object) -> None:
            error = ApiException(status=status)
            error.body = json.dumps({"kind": "Status", "reason": reason, "code": status})
            raise error

        launcher = StagePodLauncher(
            service_account_name="launcher",
            instance_config_map="instance",
            dagster_home=str(tmp_path),
            job_image="cellassets:test",
            load_incluster_config=False,
            kubeconfig_file=str(kubeconfig),
            k8s_client_batch_api=SimpleNamespace(create_namespaced_job=refuse),
        )
        launcher.register_instance(instance)
        reconstructable = dg.reconstructable(job)
        run = instance.create_run_for_job(
            job,
            status=dg.DagsterRunStatus.STARTING,
            job_code_origin=reconstructable.get_python_origin(),
        )
        launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
        return instance.get_run_by_id(run.run_id).status

    return start


def test_a_run_that_another_daemon_has_started_goes_on(launch):
    assert launch(409, "AlreadyExists") == dg.DagsterRunStatus.STARTING


@pytest.mark.parametrize(("status", "reason"), [(403, "Forbidden"), (409, "Conflict")])
def test_a_run_whose_job_was_not_created_is_not_started(launch, status, reason):
    """Two jobs that count against one quota at the same time can conflict."""
    with pytest.raises(DagsterK8sUnrecoverableAPIError):
        launch(status, reason)
