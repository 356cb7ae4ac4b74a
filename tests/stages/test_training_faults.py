"""What a training survives: a kill inside an epoch, full disks, no memory, a registry that is gone, and divergence."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import pytest
import torch

from cellassets.errors import OutOfMemory, RegistryError, StorageUnwritable, TrainingError, is_refusal
from cellassets.progress import no_progress
from cellassets.registry import Registry, opening, patience
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.training.module import PerturbationClassifier

pytestmark = pytest.mark.usefixtures("one_thread")
NETWORK = {
    "kind": "network",
    "train_experiments": ["HUVEC-1"],
    "validation_experiments": ["HUVEC-2"],
    "backbone": {"family": "resnet", "stem_width": 8, "widths": [8, 16], "depths": [1, 1]},
    "embedding_dim": 8,
    "augmentation": {"crop_px": 48},
    "n_epochs": 3,
}
EVERYTHING_DRAWN = {
    "backbone": {
        "family": "zoo",
        "model_type": "convnext",
        "config": {"hidden_sizes": [8, 8], "depths": [1, 1], "num_stages": 2, "drop_path_rate": 0.3},
    },
    "augmentation": {"crop_px": 48, "gain_jitter": 0.2, "channel_dropout_frac": 0.2},
    "optimiser": {"ema_decay": 0.9, "n_batches_per_step": 2},
}


@pytest.fixture
def train(screen):
    """Writes a recipe and carries it out; returns the record, and the batches after which it was reported."""

    def train(name, progress=no_progress, deployment=None, **changes):
        screen.set(f"recipes/{name}.yaml", {**NETWORK, **changes})
        reported = []

        def report(n_done, n_total, what, /, note=""):
            reported.append(n_done / n_total * NETWORK["n_epochs"])
            progress(n_done, n_total, what, note=note)

        stage = stage_named("checkpoint")
        made = carry_out(stage, deployment or screen.deployment, {"recipe": name}, progress=report)
        return made.record, reported

    return train


@pytest.fixture
def step(monkeypatch):
    """Has something happen before each step: `step(lambda module, epoch, index: ...)`, both counted from 1."""
    original = PerturbationClassifier.training_step

    def set_step(happens):
        def training_step(module, batch, index):
            happens(module, module.current_epoch + 1, index + 1)
            return original(module, batch, index)

        monkeypatch.setattr(PerturbationClassifier, "training_step", training_step)

    return set_step


def points(registry, run_id):
    return sorted(point.step for point in registry.client().get_metric_history(run_id, "train_loss"))


def runs_of(registry, name):
    experiment = registry.client().get_experiment_by_name("cellassets")
    return registry.client().search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'")


def registered(registry, name):
    return [entry.key for entry in registry.list_models() if entry.name == name]


def weights_of(record):
    return next(file.crc32c for file in record.files if file.name == "weights.safetensors")


PROGRAM = """
import os, signal, sys
from pathlib import Path
import torch
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment
from cellassets.training.module import PerturbationClassifier

step = PerturbationClassifier.training_step

def killed(module, batch, index):
    if (module.current_epoch, index) == (1, 2):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(module, batch, index)

PerturbationClassifier.training_step = killed
torch.set_num_threads(1)
home = Path(sys.argv[1])
carry_out(stage_named("checkpoint"), Deployment.of({}, home=home, configs=home / "configs"), {"recipe": "killed"})
"""


@pytest.mark.slow
def test_a_training_that_is_killed_inside_an_epoch_goes_on_from_the_lake_alone(screen, train):
    straight, _ = train("straight", **EVERYTHING_DRAWN)
    screen.set("recipes/killed.yaml", {**NETWORK, **EVERYTHING_DRAWN})
    command = [sys.executable, "-c", PROGRAM, str(screen.home)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    shutil.rmtree(screen.home / "work")  # another machine has another disk
    record, reported = train("killed", **EVERYTHING_DRAWN)
    assert 1 < reported[0] < 2, "the second epoch begins again, the first does not"
    assert weights_of(record) == weights_of(straight)
    assert points(screen.registry, record.summary["run_id"]) == [1, 2, 3]


class SmallDisk:
    """A folder as a disk of its own with 3 MiB of free space, which `fill` takes."""

    def __init__(self, folder):
        self.folder, self.kept = folder, folder.with_name(f"{folder.name}-kept")

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.rename(self.kept)
        self.folder.mkdir()
        n_mib = 4 + sum(path.stat().st_size + 4096 for path in self.kept.rglob("*")) // 2**20
        mount = ["mount", "-t", "tmpfs", "-o", f"size={n_mib}m", "tmpfs", str(self.folder)]
        made = subprocess.run(mount, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"this user cannot mount a disk of its own: {made.stderr.strip()}")
        shutil.copytree(self.kept, self.folder, dirs_exist_ok=True)
        return self

    def fill(self):
        with (self.folder / "ballast").open("wb", buffering=0) as stream, suppress(OSError):
            while stream.write(bytes(4096)):
                pass

    def __exit__(self, *_):
        shutil.rmtree(self.kept)
        (self.folder / "ballast").unlink()
        shutil.copytree(self.folder, self.kept)
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
        self.folder.rmdir()
        self.kept.rename(self.folder)


@pytest.mark.slow
def test_full_disks_of_lake_work_folder_and_models_cost_an_attempt_each_and_no_saved_epoch(screen, train):
    straight, _ = train("straight")
    for name, file in (("lake", ".safetensors"), ("work", "model/weights.safetensors"), ("models", "artifacts/model")):
        with SmallDisk(screen.home / name) as disk:
            if name == "models":
                disk.fill()

            def fill(*_, note, disk=disk, name=name):
                if name != "models" and note.startswith("epoch 2"):
                    disk.fill()

            with pytest.raises(StorageUnwritable) as caught:
                train("full", fill)
        assert str(screen.home / name) in str(caught.value)
        assert f"{file}: No space left on device; free space there" in str(caught.value)
        assert not is_refusal(caught.value), "it is asked for again"
        left = {path.name for path in screen.lake.artifact("checkpoint", "full").data.rglob("*") if path.is_file()}
        assert {name for name in left if name.startswith(".")} == set(), "nothing half-written is left"
        assert registered(screen.registry, "full") == []
    record, reported = train("full")
    assert reported == [], "every epoch was trained before"
    assert weights_of(record) == weights_of(straight)
    assert registered(screen.registry, "full") == ["full.v1"]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "a GPU with more memory"),
        (MemoryError(), "raise `memory_gib` of the stage `checkpoint` in pods.yaml"),
    ],
)
def test_a_training_without_memory_says_what_to_lower_and_goes_on_when_there_is_more(train, step, error, advice):
    def run_out(_, epoch, index):
        if (epoch, index) == (2, 2):
            raise error

    step(run_out)
    with pytest.raises(OutOfMemory) as caught:
        train("big", n_epochs=2)
    assert "training of big with batch_size 32: out of" in str(caught.value)
    assert advice in str(caught.value)
    assert "lower batch_size of the recipe" in str(caught.value)
    assert is_refusal(caught.value), "the same pod would run out of memory again"
    step(lambda *_: None)
    assert train("big", n_epochs=2)[1][0] > 1.5, "the first of two epochs is not trained again"


def test_a_training_that_diverges_registers_nothing_and_says_where_its_curves_are(screen, train, step, monkeypatch):
    log_metrics = Registry.log_metrics

    def answer_late(registry, run_id, metrics, *, step, patience_s=1.0):
        if patience_s == 0:
            raise RegistryError("does not answer")
        log_metrics(registry, run_id, metrics, step=step)

    def diverge(module, epoch, index):
        if (epoch, index) == (3, 2):
            torch.nn.utils.vector_to_parameters(torch.full((n_weights(module),), torch.nan), module.parameters())

    monkeypatch.setattr(Registry, "log_metrics", answer_late)
    step(diverge)
    with pytest.raises(TrainingError, match=r"wild: loss is nan in epoch 3, batch 2: lower optimiser.learn") as caught:
        train("wild")
    (run,) = runs_of(screen.registry, "wild")
    place = f"{screen.registry.tracking_uri}, run {run.info.run_id}"
    assert f"No model is registered; the curves of the epochs before are in MLflow at {place}" in str(caught.value)
    assert is_refusal(caught.value), "nobody asks for it again before the recipe changes"
    assert run.info.status == "FAILED"
    assert points(screen.registry, run.info.run_id) == [1, 2]
    assert registered(screen.registry, "wild") == []
    reported = []
    with pytest.raises(TrainingError, match="wild: loss is nan in epoch 3, batch 2"):
        train("wild", lambda n_done, n_total, _, note: reported.append(n_done / n_total))  # noqa: ARG005
    assert min(reported) > 2 / 3, "a person who asks for it all the same waits for one epoch"


def n_weights(module):
    return sum(weights.numel() for weights in module.parameters())


@pytest.mark.slow
@pytest.mark.long
def test_an_mlflow_server_that_is_gone_or_has_lost_everything_costs_no_epoch(screen, train, mlflow_server, monkeypatch):
    def shortly(call, *, uri, patience_s):
        return patiently(call, uri=uri, patience_s=min(patience_s, 1.0))

    patiently = patience.patiently
    for module in (opening, patience):
        monkeypatch.setattr(module, "patiently", shortly)
    places = replace(screen.deployment, tracking_uri=mlflow_server.url, model_root="")

    def stop(*_, note):
        reported.append(note)
        if note.startswith("epoch 2"):
            mlflow_server.stop()

    for what, last in (("it goes in the second epoch", "epoch 3"), ("it is not there at the start", None)):
        reported = []
        with pytest.raises(RegistryError, match=f"registry at {mlflow_server.url} does not answer .*again") as caught:
            train("gone", stop, deployment=places)
        assert not is_refusal(caught.value), "it is asked for again"
        assert (reported[-1][:7] if reported else None) == last, what

    for name in ("server.db", "server_files"):
        path = mlflow_server.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    mlflow_server.start()
    record, reported = train("gone", deployment=places)
    registry = Registry(mlflow_server.url, "")
    assert reported == [], "all epochs were trained while MLflow was gone"
    assert registered(registry, "gone") == [record.summary["model_key"]] == ["gone.v1"]
    assert points(registry, record.summary["run_id"]) == [1, 2, 3], "the curve is whole, too"


@pytest.fixture
def left_by(screen):
    """What is left of a training beside its checkpoint: the statuses of its runs, and whether there are states."""

    def left_by(name):
        states = list(screen.lake.artifact("checkpoint", name).data.glob("*/training"))
        return [run.info.status for run in runs_of(screen.registry, name)], bool(states)

    return left_by


def test_a_process_that_is_killed_after_the_publication_leaves_no_run_and_no_states_for_ever(screen, train, left_by):
    screen.set("recipes/late.yaml", {**NETWORK, "n_epochs": 1})
    killed = replace(stage_named("checkpoint"), settle=None)  # as by SIGKILL between the two
    first = carry_out(killed, screen.deployment, {"recipe": "late"}).record
    assert left_by("late") == (["RUNNING"], True)
    again, reported = train("late", n_epochs=1)
    assert (again.generation, reported) == (first.generation, []), "it was not trained again"
    assert left_by("late") == (["FINISHED"], False)


def test_an_mlflow_that_is_gone_after_the_publication_fails_nothing_and_is_told_later(train, left_by, monkeypatch):
    def gone(*_, **__):
        message = "the model registry does not answer"
        raise RegistryError(message)

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "finish_runs", gone)
        record, _ = train("vanished", n_epochs=1)
        assert train("vanished", n_epochs=1) == (record, [])
    assert left_by("vanished") == (["RUNNING"], False)
    assert train("vanished", n_epochs=1) == (record, [])
    assert left_by("vanished") == (["FINISHED"], False)
