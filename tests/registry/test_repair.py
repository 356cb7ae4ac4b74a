"""What is damaged, moved or deleted in MLflow is repaired by registering a model again, or named with the repair."""

import json
import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cellassets.errors import CorruptArtifact, RegistryError
from cellassets.registry import Registry, folder_fingerprint
from cellassets.registry.curves import Curves
from cellassets.registry.patience import HTTP_LIMITS, patiently


def model_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "encoder.json").write_text(json.dumps({"kind": "classical"}))
    (path / "weights.bin").write_bytes(b"weights")
    return path


@pytest.fixture
def registry(tmp_path, empty_home) -> Registry:
    shutil.copytree(empty_home, tmp_path / "home")
    return Registry(f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}", (tmp_path / "home" / "models").as_uri())


def registered(registry: Registry, folder: Path, **options):
    return registry.register(folder, name="m", run_id=None, tags={"kind": "classical"}, **options)


def test_files_of_a_killed_process_do_not_belong_to_a_model(registry, tmp_path):
    folder = model_folder(tmp_path / "model")
    clean = folder_fingerprint(folder)
    (folder / ".recipe.yaml.6a221acd").write_text("half")
    entry = registered(registry, folder)
    assert entry.fingerprint == clean
    names = sorted(path.name for path in registry.fetch(entry.key, tmp_path).iterdir())
    assert names == ["encoder.json", "weights.bin"]


def test_only_the_named_files_are_registered(registry, tmp_path):
    folder = model_folder(tmp_path / "model")
    (folder / "notes.txt").write_text("of somebody else")
    entry = registered(registry, folder, names=("encoder.json", "weights.bin"))
    (folder / "notes.txt").unlink()
    assert entry.fingerprint == folder_fingerprint(folder)
    assert not (registry.fetch(entry.key, tmp_path) / "notes.txt").exists()


def test_registered_files_can_be_read_by_other_users(registry, tmp_path):
    folder = model_folder(tmp_path / "model")
    (folder / "weights.bin").chmod(0o600)
    place = registry.fetch(registered(registry, folder).key, tmp_path)
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o644}


def test_registering_again_uploads_files_that_are_gone_or_damaged(registry, tmp_path, caplog):
    folder = model_folder(tmp_path / "model")
    entry = registered(registry, folder)
    place = registry.fetch(entry.key, tmp_path)
    (place / "weights.bin").write_bytes(b"damaged")
    assert registered(registry, folder) == entry
    assert "uploaded again" in caplog.text
    assert (registry.fetch(entry.key, tmp_path) / "weights.bin").read_bytes() == b"weights"
    shutil.rmtree(place)
    assert registered(registry, folder) == entry
    assert registry.fetch(entry.key, tmp_path) == place
    caplog.clear()
    assert registered(registry, folder) == entry
    assert caplog.text == "", "readable files are not uploaded again"


@pytest.mark.slow
def test_a_model_whose_run_mlflow_collected_is_repaired_by_registering_it_again(registry, tmp_path):
    folder = model_folder(tmp_path / "model")
    entry = registered(registry, folder)
    registry.client().delete_run(entry.run_id)
    command = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", registry.tracking_uri]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": registry.tracking_uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run([*command, "--run-ids", entry.run_id], check=True, capture_output=True, env=environment)
    with pytest.raises(CorruptArtifact, match="register the model again"):
        registry.fetch(entry.key, tmp_path)
    assert registered(registry, folder) == entry
    assert folder_fingerprint(registry.fetch(entry.key, tmp_path)) == entry.fingerprint


@pytest.fixture
def moved(registry, tmp_path):
    """A moved home whose database is not corrected: MLflow opens it by a URL that is not recognised as a local file.

    So it is with Postgres and with a server, which keep the old place too.
    """
    entry = registered(registry, model_folder(tmp_path / "model"))
    run_id = registry.start_run("training", parameters={}, tags={"plan": "p"})
    shutil.move(tmp_path / "home", tmp_path / "moved")
    home = tmp_path / "moved"
    uri = f"sqlite+pysqlite:///{home / 'mlflow.db'}"
    return Registry(uri, (home / "models").as_uri()), entry, run_id


def test_models_of_a_moved_home_are_found_below_the_artefact_root(moved, tmp_path):
    registry, entry, _ = moved
    place = registry.fetch(entry.key, tmp_path / "cache")
    assert place.is_relative_to(tmp_path / "moved")
    shutil.rmtree(place)
    assert registered(registry, tmp_path / "model") == entry
    assert registry.fetch(entry.key, tmp_path / "cache") == place, "uploaded to the new place"
    assert not (tmp_path / "home").exists(), "nothing is written to the old place"


def test_new_models_of_a_moved_home_are_refused_instead_of_written_to_the_old_place(moved, tmp_path):
    registry, _, _ = moved
    other = model_folder(tmp_path / "other")
    (other / "weights.bin").write_bytes(b"new")
    for write in (
        lambda: registry.start_run("new", parameters={}, tags={}),
        lambda: registry.take_up_run("training", {"plan": "p"}),
        lambda: registered(registry, other),
    ):
        with pytest.raises(RegistryError, match=r"keeps its files in .*/home/models, and this deployment in .*/moved"):
            write()
    assert not (tmp_path / "home").exists()


def test_a_deleted_experiment_is_named_with_the_repair(registry, tmp_path):
    folder = model_folder(tmp_path / "model")
    registered(registry, folder)
    number = registry.client().get_experiment_by_name("cellassets").experiment_id
    registry.client().delete_experiment(number)
    with pytest.raises(RegistryError, match=f"was deleted; restore it .* --experiment-id {number}"):
        registry.start_run("new", parameters={}, tags={})
    registry.client().restore_experiment(number)
    assert registry.start_run("new", parameters={}, tags={})


@pytest.mark.slow
@pytest.mark.long
def test_a_database_that_is_locked_for_a_while_loses_nothing(registry, tmp_path):
    """Longer than the 20 seconds that MLflow itself waits for a lock of SQLite."""
    run_id = registry.start_run("training", parameters={}, tags={})
    holder = sqlite3.connect(tmp_path / "home" / "mlflow.db", isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(23, holder.execute, ["ROLLBACK"])
    release.start()
    curves = Curves(registry, run_id)
    started = time.monotonic()
    curves.add(1, {"loss": 0.5})
    waited = time.monotonic() - started
    entry = registered(registry, model_folder(tmp_path / "model"))
    curves.finish()
    release.join()
    holder.close()
    assert waited < 22, "the training went on before the lock was released"
    assert registry.list_models() == [entry]
    assert [point.value for point in registry.client().get_metric_history(run_id, "loss")] == [0.5]


class Passing(Exception):
    error_code = "TEMPORARILY_UNAVAILABLE"


def test_patience_ends_and_other_errors_are_not_repeated(monkeypatch):
    calls, pauses = [], []
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(time, "monotonic", lambda: float(sum(pauses)))

    def call(error):
        calls.append(error)
        raise error("locked")

    with pytest.raises(RegistryError, match="at u does not answer for 40 s: locked; try again when it does"):
        patiently(lambda: call(Passing), uri="u", patience_s=40.0)
    assert pauses == [0.5, 1, 2, 4, 8, 15]
    with pytest.raises(RegistryError, match="at u does not answer: locked"):
        patiently(lambda: call(Passing), uri="u", patience_s=0.0)
    del calls[:]
    with pytest.raises(ValueError, match="locked"):
        patiently(lambda: call(ValueError), uri="u", patience_s=40.0)
    assert calls == [ValueError]


def test_requests_have_limits_which_the_environment_can_set(registry, monkeypatch):
    registry.client()
    assert {name: os.environ[name] for name in HTTP_LIMITS} == HTTP_LIMITS, "set when the client was opened"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    from cellassets.registry.patience import limit_requests

    limit_requests()
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "7"


def test_a_training_run_whose_curves_cannot_be_sent_goes_on(caplog):
    """Nobody answers at this address."""
    registry = Registry("http://127.0.0.1:9", "")
    caplog.set_level(logging.WARNING)
    started = time.monotonic()
    curves = Curves(registry, "0" * 32)
    for epoch in (1, 2):
        curves.add(epoch, {"loss": 1.0})
    assert time.monotonic() - started < 30
    assert "2 points of the curves of run" in caplog.text
