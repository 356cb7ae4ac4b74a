"""The launcher of pods, where Kubernetes' API refuses a run's job."""

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
    """Launches a run and returns its status; Kubernetes answers the creation of its job with the given error."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(KUBECONFIG))

    def start(answer: int) -> dg.DagsterRunStatus:
        def refuse(**_: object) -> None:
            raise ApiException(status=answer)

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
    assert launch(409) == dg.DagsterRunStatus.STARTING


def test_a_run_whose_job_is_refused_for_another_reason_is_not_started(launch):
    with pytest.raises(DagsterK8sUnrecoverableAPIError):
        launch(403)
