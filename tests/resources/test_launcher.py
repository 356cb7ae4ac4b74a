"""The launcher of pods, where Kubernetes' API refuses a run's job."""

import json
from types import SimpleNamespace

import dagster as dg
import pytest
import yaml
from dagster._core.launcher import LaunchRunContext
from dagster_k8s.client import DagsterK8sUnrecoverableAPIError
from kubernetes.client import V1JobStatus
from kubernetes.client.exceptions import ApiException

from resources import starting
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
def launcher(instance, tmp_path):
    """Returns a launcher whose calls of Kubernetes' API go to the given functions."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(KUBECONFIG))

    def make(**calls) -> StagePodLauncher:
        made = StagePodLauncher(
            service_account_name="launcher",
            instance_config_map="instance",
            dagster_home=str(tmp_path),
            job_image="cellassets:test",
            load_incluster_config=False,
            kubeconfig_file=str(kubeconfig),
            k8s_client_batch_api=SimpleNamespace(**calls),
        )
        made.register_instance(instance)
        return made

    return make


def starting_run(instance):
    reconstructable = dg.reconstructable(job)
    return instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTING, job_code_origin=reconstructable.get_python_origin()
    )


@pytest.fixture
def launch(instance, launcher):
    """Launches a run and returns its status; Kubernetes refuses to create its job."""

    def start(status: int, reason: str) -> dg.DagsterRunStatus:
        def refuse(**_: object) -> None:
            error = ApiException(status=status)
            error.body = json.dumps({"kind": "Status", "reason": reason, "code": status})
            raise error

        run = starting_run(instance)
        launcher(create_namespaced_job=refuse).launch_run(LaunchRunContext(dagster_run=run, workspace=None))
        return instance.get_run_by_id(run.run_id).status

    return start


def test_a_run_that_another_daemon_has_started_goes_on(launch):
    assert launch(409, "AlreadyExists") == dg.DagsterRunStatus.STARTING


@pytest.mark.parametrize(("status", "reason"), [(403, "Forbidden"), (409, "Conflict")])
def test_a_run_whose_job_was_not_created_is_not_started(launch, status, reason):
    """Two jobs that count against one quota at the same time can conflict."""
    with pytest.raises(DagsterK8sUnrecoverableAPIError):
        launch(status, reason)


@pytest.mark.parametrize(
    ("job_status", "fails_at"),
    [(None, "later"), ({}, "never"), ({"active": 1}, "never"), ({"failed": 1}, "once"), ({"succeeded": 1}, "once")],
)
def test_a_run_whose_pod_is_gone_before_it_starts_has_failed(instance, launcher, monkeypatch, job_status, fails_at):
    """A daemon that was killed between Dagster's event and the creation of the job leaves a run without a job."""

    def read(*_: object, **__: object) -> SimpleNamespace:
        if job_status is None:
            raise ApiException(status=404)
        return SimpleNamespace(status=V1JobStatus(**job_status))

    watching = launcher(read_namespaced_job_status=read)
    monkeypatch.setattr(watching, "_was_killed_for_memory", lambda _: False)
    run = starting_run(instance)
    for missing_s, ended in ((starting.MISSING_S, fails_at == "once"), (0.0, fails_at != "never")):
        monkeypatch.setattr(starting, "MISSING_S", missing_s)
        watching.fail_unstarted()
        assert (instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE) == ended
