import json
import threading

import pytest

from cellassets.errors import RegistryError
from cellassets.registry import Registry, folder_fingerprint
from cellassets.registry.curves import Curves


@pytest.mark.slow
def test_a_model_goes_to_an_mlflow_server_and_comes_back_by_download(mlflow_server, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "encoder.json").write_text(json.dumps({"kind": "classical"}))
    registry = Registry(mlflow_server.url, "")
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
def test_a_server_that_is_gone_for_a_while_stops_no_training_and_loses_no_model(mlflow_server, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "encoder.json").write_text(json.dumps({"kind": "classical"}))
    registry = Registry(mlflow_server.url, "")
    run_id = registry.start_run("training", parameters={}, tags={})
    curves = Curves(registry, run_id)
    curves.add(1, {"loss": 1.0})
    mlflow_server.stop()
    for epoch in (2, 3):
        curves.add(epoch, {"loss": 1 / epoch})
    with pytest.raises(RegistryError, match="does not answer"):
        registry.list_models()
    again = threading.Timer(5, mlflow_server.start)
    again.start()
    with registry.ended_on_error(run_id):
        curves.finish()
        entry = registry.register(folder, name="patient", run_id=run_id, tags={"kind": "classical"})
    registry.finish_runs("training", {}, run_id=run_id)
    again.join()
    assert registry.list_models() == [entry]
    assert [point.step for point in registry.client().get_metric_history(run_id, "loss")] == [1, 2, 3]
    assert registry.client().get_run(run_id).info.status == "FINISHED"
