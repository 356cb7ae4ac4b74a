import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from cellassets.registry import Registry, folder_fingerprint

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


@pytest.fixture
def server_url(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"]
    command += ["--artifacts-destination", str(tmp_path / "server_files")]
    log = (tmp_path / "server.log").open("w")
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(url, process)
        yield url
    finally:
        os.killpg(process.pid, 9)  # the server and its worker: nobody else is in this group
        process.wait()
        log.close()


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
