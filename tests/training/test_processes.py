"""What is known of processes that ended badly, and what an agent prepares for them. No process is started here."""

import os
import signal
from pathlib import Path

import pytest
import yaml

from cellassets.errors import OutOfMemory, ProcessLost, StaleArtifact, TrainingError, is_refusal
from cellassets.training.memory import memory_errors_named
from cellassets.training.processes.agent import THREADS, prepare_environment
from cellassets.training.processes.launch import Endings
from cellassets.training.processes.reports import ReportReader, Reports
from cellassets.training.processes.task import PARENT, Task
from cellassets.training.recipe import NetworkRecipe

RECIPE = NetworkRecipe.model_validate(
    {
        "name": "shared",
        "train_experiments": ["E-1"],
        "validation_experiments": ["E-2"],
        "optimiser": {"learning_rate": 0.1 + 0.2},
        "devices": {"n_per_node": 2},
    }
)
PEER = "Connection closed by peer [127.0.0.1]"


def error(failures=(), statuses=()):
    return Endings(RECIPE, list(failures), dict(statuses)).error(1)


def test_what_a_process_refused_comes_first_then_a_kill_then_its_consequences():
    refused = error([(1, "RuntimeError", PEER), (0, "TrainingError", "shared: loss is nan")], {0: 1, 1: 1})
    assert (type(refused), str(refused)) == (TrainingError, "shared: loss is nan")
    assert type(error([(0, "StaleArtifact", "attempt 2 has begun")])) is StaleArtifact
    killed = error([(0, "RuntimeError", PEER)], {0: 1, 1: -signal.SIGKILL})
    assert str(killed).startswith("shared: process 1 of 2 was killed by SIGKILL (if the system did so for want of mem")
    ended = error([(0, "RuntimeError", PEER)], {0: 1, 1: -signal.SIGTERM})
    assert f"process 0 of 2 ended with RuntimeError: {PEER}" in str(ended)
    for lost in (killed, ended, error()):
        assert type(lost) is ProcessLost
        assert not is_refusal(lost), "it is asked for again"


def test_a_gpu_without_memory_is_named_as_in_one_process():
    lost = error([(0, "OutOfMemoryError", "CUDA out of memory. Tried to allocate")], {0: 1})
    named = memory_errors_named("training of shared", stage="checkpoint", smaller="lower batch_size")
    with pytest.raises(OutOfMemory, match="out of GPU memory"), named:
        raise lost


def test_reports_are_read_once_and_never_by_halves(tmp_path):
    reports, reader = Reports(tmp_path, "process-0"), ReportReader(tmp_path)
    reports.epoch(0, {"train_loss": 0.1 + 0.2})
    with reports.path.open("a") as stream:
        stream.write('["epoch", 1')
        stream.flush()
        assert list(reader.new()) == [("epoch", [0, {"train_loss": 0.1 + 0.2}])]
        stream.write(", {}]\n")
    assert list(reader.new()) == [("epoch", [1, {}])]
    assert list(reader.new()) == []
    Reports(None, "process-0").epoch(0, {})


def test_the_threads_of_a_node_are_shared(monkeypatch):
    for name in (*THREADS, "GLOO_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    prepare_environment(n_nodes=2, n_per_node=4)
    assert {name: os.environ.get(name) for name in THREADS[:3]} == {
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": None,
        "MKL_NUM_THREADS": "1",
    }
    assert "GLOO_SOCKET_IFNAME" not in os.environ, "other nodes are not on loopback"


def test_a_task_comes_back_whole(tmp_path):
    parent = tmp_path / "model"
    parent.mkdir()
    for name in ("encoder.json", "weights.safetensors"):
        (parent / name).write_bytes(name.encode())
    folder = tmp_path / "training"
    task = Task(recipe=RECIPE, sources=(), folder=str(folder), attempt=3, goes_on_from="x", has_parent=True)
    path = task.write(parent)
    assert Task.read(path) == task
    assert (Path(folder) / PARENT / "encoder.json").read_bytes() == b"encoder.json"
    assert yaml.safe_load(path.read_text())["recipe"]["devices"]["n_per_node"] == 2
