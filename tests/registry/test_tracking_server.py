import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from cellassets.errors import RegistryError
from cellassets.registry import Registry, folder_fingerprint
from cellassets.registry.curves import Curves

START_S = 90


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_healthy(url: str, process: subprocess.Popen) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail("the MLflow server did not start")


class Server:
    """An MLflow server that can be stopped and started again."""

    def __init__(self, folder, port):
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"
        self.command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        self.command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
        self.command += ["--artifacts-destination", str(folder / "server_files")]
        self.process = None

    def start(self):
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        wait_until_healthy(self.url, self.process)

    def stop(self):
        os.killpg(self.process.pid, 9)  # the server and its worker: nobody else is in this group
        self.process.wait()


@pytest.fixture
def server(tmp_path):
    started = Server(tmp_path, free_port())
    started.start()
    yield started
    started.stop()


@pytest.fixture
def server_url(server):
    return server.url


@pytest.mark.slow
def test_a_model_goes_to_an_mlflow_server_and_comes_back_by_download(server_url, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "encoder.json").write_text(json.dumps({"kind": "classical"}))
    registry = Registry(server_url, "")
    entry = registry.register(folder, name="remote", run_id=None, tags={"kind": "classical"})
    assert registry.list_models() == [entry]
    registry.client().set_registered_model_alias("remote", "champion", "1")
    assert registry.list_models() == [registry.find("remote.v1")]
    assert registry.list_models()[0].aliases == ("champion",)
    fetched = registry.fetch("remote.v1", tmp_path / "cache")
    assert fetched.is_relative_to(tmp_path / "cache")
    assert folder_fingerprint(fetched) == entry.fingerprint
    assert registry.fetch("remote.v1", tmp_path / "cache") == fetched


@pytest.mark.slow
def test_a_server_that_is_gone_for_a_while_stops_no_training_and_loses_no_model(server, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "encoder.json").write_text(json.dumps({"kind": "classical"}))
    registry = Registry(server.url, "")
    run_id = registry.start_run("training", parameters={}, tags={})
    curves = Curves(registry, run_id)
    curves.add(1, {"loss": 1.0})
    server.stop()
    for epoch in (2, 3):
        curves.add(epoch, {"loss": 1 / epoch})
    with pytest.raises(RegistryError, match="does not answer"):
        registry.list_models()
    again = threading.Timer(5, server.start)
    again.start()
    with registry.ended_on_exit(run_id):
        curves.finish()
        entry = registry.register(folder, name="patient", run_id=run_id, tags={"kind": "classical"})
    again.join()
    assert registry.list_models() == [entry]
    assert [point.step for point in registry.client().get_metric_history(run_id, "loss")] == [1, 2, 3]
    assert registry.client().get_run(run_id).info.status == "FINISHED"
