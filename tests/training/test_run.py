import os
import signal
import subprocess
import sys

import pytest
import yaml
from upath import UPath

from cellassets.errors import ArtifactMissing, RecipeError, TrainingError
from cellassets.images.pack import pack_experiment
from cellassets.quality.inspect import inspect_experiment
from cellassets.registry import Registry, folder_fingerprint
from cellassets.screens.ingest import ingest_plates
from cellassets.screens.policy import IngestPolicy
from cellassets.storage.lake import Lake
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen
from cellassets.training.checkpoint import load_network
from cellassets.training.plan import plan_checkpoint
from cellassets.training.provenance import code_version, git_revision
from cellassets.training.recipe import ClassicalRecipe, NetworkRecipe
from cellassets.training.run import train_recipe
from cellassets.training.summary import CheckpointSummary


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Lake:
    folder = tmp_path_factory.mktemp("lake")
    write_screen(
        tiny_design(image_size=64, n_sites_per_well=2), folder / "landing", experiment_ids=["HUVEC-1", "HUVEC-2"]
    )
    lake, landing = Lake(UPath(folder / "lake")), UPath(folder / "landing")
    for experiment_id in ("HUVEC-1", "HUVEC-2"):
        ingest_plates(lake, landing, experiment_id, policy=IngestPolicy())
        pack_experiment(lake, experiment_id, landing=landing)
        inspect_experiment(lake, experiment_id)
    return lake


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Registry:
    folder = tmp_path_factory.mktemp("registry")
    return Registry(f"sqlite:///{folder / 'mlflow.db'}", (folder / "models").as_uri())


def recipe(name: str, **changes) -> NetworkRecipe:
    values = {
        "name": name,
        "train_experiments": ["HUVEC-1"],
        "validation_experiments": ["HUVEC-2"],
        "backbone": {"family": "resnet", "stem_width": 8, "widths": [8, 16], "depths": [1, 1]},
        "embedding_dim": 8,
        "augmentation": {"crop_px": 48},
        "n_epochs": 2,
    }
    return NetworkRecipe.model_validate({**values, **changes})


def keep(reports):
    return lambda *report, note="": reports.append((report, note))


def test_a_recipe_becomes_a_registered_model_with_curves_and_provenance(lake, registry, tmp_path):
    reports = []
    chosen = recipe("first")
    record = train_recipe(lake, registry, chosen, work_dir=tmp_path, progress=keep(reports))

    assert record.summary["model_key"] == "first.v1"
    assert record.summary["validation_accuracy"] == record.summary["metrics"]["validation_accuracy"]
    assert record.summary["chance_accuracy"] == pytest.approx(1 / record.summary["n_classes"])
    n_done, n_total, what, notes = zip(*[(*report, note) for report, note in reports], strict=True)
    assert set(what) == {"batches trained for first"}
    assert list(n_done) == sorted(n_done)
    assert (n_done[0], n_done[-1], set(n_total)) == (1, n_total[0], {n_total[0]})
    assert notes[0].startswith("epoch 1 of 2, loss ")
    assert notes[-1].startswith("epoch 2 of 2, loss ")
    assert "held-out accuracy" in notes[-1]
    assert CheckpointSummary.model_validate(record.summary).n_weights > 0
    assert list(tmp_path.iterdir()) == [], "the work folder is empty after the publication"

    entry = registry.find("first.v1")
    assert entry.kind == "network"
    assert entry.tags["recipe_name"] == "first"
    assert entry.tags["embedding_dim"] == "8"
    assert entry.tags["code_version"] == code_version()
    folder = registry.fetch("first.v1", tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["encoder.json", "recipe.yaml", "weights.safetensors"]
    assert {file.name for file in record.files} == {path.name for path in folder.iterdir()}
    _, spec = load_network(folder)
    assert (spec.n_channels, spec.embedding_dim, spec.trained_px, spec.recipe_name) == (6, 8, 48, "first")
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["train_experiments"] == ["HUVEC-1"]

    run = registry.client().get_run(record.summary["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["backbone.family"] == "resnet"
    assert run.data.tags["data_fingerprint"] == entry.tags["data_fingerprint"]
    assert len(registry.client().get_metric_history(run.info.run_id, "train_loss")) == 2
    assert {item.path for item in registry.client().list_artifacts(run.info.run_id)} == {"made_from.json", "model"}


def test_what_is_trained_already_is_not_trained_again(lake, registry, tmp_path):
    first = train_recipe(lake, registry, recipe("twice", n_epochs=1), work_dir=tmp_path)
    reports = []
    again = train_recipe(
        lake, registry, recipe("twice", n_epochs=1), work_dir=tmp_path, progress=lambda *report: reports.append(report)
    )
    assert again == first
    assert reports == []


def test_a_changed_recipe_makes_the_next_version(lake, registry, tmp_path):
    keys = [
        train_recipe(lake, registry, recipe("changed", n_epochs=1, seed=seed), work_dir=tmp_path).summary["model_key"]
        for seed in (0, 1)
    ]
    assert keys == ["changed.v1", "changed.v2"]


def test_a_kill_between_registering_and_publishing_registers_nothing_twice(lake, registry, tmp_path):
    first = train_recipe(lake, registry, recipe("cut", n_epochs=1), work_dir=tmp_path)
    (lake.checkpoint("cut").root / "record.json").unlink()
    again = train_recipe(lake, registry, recipe("cut", n_epochs=1), work_dir=tmp_path)
    assert again.summary["model_key"] == first.summary["model_key"] == "cut.v1"
    assert [entry.key for entry in registry.list_models() if entry.name == "cut"] == ["cut.v1"]


PROGRAM = """
import os, signal, sys
from contextlib import nullcontext
import torch
from dagster._core.errors import raise_execution_interrupts
from pathlib import Path
from upath import UPath
from cellassets.storage.lake import Lake
from cellassets.registry import Registry
from cellassets.training.recipe import load_recipe
from cellassets.training.run import train_recipe

epochs = []

def progress(n_done, n_total, what, note=""):
    if n_done * 4 % n_total == 0 and "held-out accuracy" in note and n_done not in epochs:
        epochs.append(n_done)
        print(len(epochs), flush=True)
        if len(epochs) == int(sys.argv[6]):
            os.kill(os.getpid(), getattr(signal, sys.argv[7]))

torch.set_num_threads(1)
lake, registry = Lake(UPath(sys.argv[1])), Registry(sys.argv[2], sys.argv[3])
with raise_execution_interrupts() if sys.argv[8] == "dagster" else nullcontext():
    train_recipe(lake, registry, load_recipe(UPath(sys.argv[4])), work_dir=Path(sys.argv[5]), progress=progress)
"""


def stopped(lake, registry, chosen, work_dir, how) -> subprocess.CompletedProcess:
    """A process that trains `chosen` and gets a signal after some epochs; `how` is (epoch, signal, handlers)."""
    work_dir.mkdir()
    path = work_dir.with_name(f"{chosen.name}.yaml")
    path.write_text(yaml.safe_dump(chosen.model_dump(mode="json")))
    places = [str(lake.root), registry.tracking_uri, registry.artifact_root, str(path), str(work_dir)]
    command = [sys.executable, "-c", PROGRAM, *places, *how]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))


def the_run(registry, name):
    experiment = registry.client().get_experiment_by_name("cellassets")
    (run,) = registry.client().search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'")
    return run.info


@pytest.mark.slow
@pytest.mark.parametrize("handlers", ["python", "dagster"])
def test_a_terminated_training_is_marked_killed_and_a_retry_resumes_the_same_run(lake, registry, tmp_path, handlers):
    chosen = recipe(f"terminated-{handlers}", n_epochs=4)
    ended = stopped(lake, registry, chosen, tmp_path / "work", ("2", "SIGTERM", handlers))
    assert ended.returncode in (143, 1), ended.stderr
    assert ended.stdout.split() == ["1", "2"], "it ends at once"
    killed = the_run(registry, chosen.name)
    assert (killed.status, killed.end_time is None) == ("KILLED", False)
    record = train_recipe(lake, registry, chosen, work_dir=tmp_path / "work")
    assert record.summary["run_id"] == killed.run_id
    assert the_run(registry, chosen.name).status == "FINISHED"


@pytest.mark.slow
def test_a_killed_training_continues_in_the_same_mlflow_run(lake, registry, tmp_path):
    chosen = recipe("killed", n_epochs=4)
    registry.client()
    killed = stopped(lake, registry, chosen, tmp_path / "work", ("3", "SIGKILL", "python"))
    assert (killed.returncode, killed.stdout.split()) == (-signal.SIGKILL, ["1", "2", "3"]), killed.stderr

    reports = []
    record = train_recipe(lake, registry, chosen, work_dir=tmp_path / "work", progress=keep(reports))
    (n_done, n_total, _), _ = reports[0]
    assert n_done == n_total // 2 + 1, "the third epoch was not saved and is trained again"
    curve = registry.client().get_metric_history(record.summary["run_id"], "train_loss")
    assert sorted({point.step for point in curve}) == [1, 2, 3, 4], "one run holds the whole curve"
    straight = train_recipe(lake, registry, recipe("straight", n_epochs=4), work_dir=tmp_path / "other")
    weights = [
        registry.fetch(found.summary["model_key"], tmp_path) / "weights.safetensors" for found in (record, straight)
    ]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_failed_training_is_marked_failed_and_publishes_nothing(lake, registry, tmp_path):
    hopeless = {"name": "sgd", "learning_rate": 1e20, "warmup_frac": 0}
    with pytest.raises(TrainingError, match="hopeless: loss is"):
        train_recipe(lake, registry, recipe("hopeless", optimiser=hopeless), work_dir=tmp_path)
    assert lake.checkpoint("hopeless").find_record() is None
    experiment = registry.client().get_experiment_by_name("cellassets")
    runs = registry.client().search_runs([experiment.experiment_id], "attributes.run_name = 'hopeless'")
    assert [run.info.status for run in runs] == ["FAILED"]


def test_a_classical_recipe_is_registered_without_training(lake, registry, tmp_path):
    record = train_recipe(lake, registry, ClassicalRecipe(name="classical"), work_dir=tmp_path)
    entry = registry.find("classical.v1")
    assert (entry.kind, record.summary["model_key"]) == ("classical", "classical.v1")
    folder = registry.fetch("classical.v1", tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["encoder.json", "recipe.yaml"]
    assert folder_fingerprint(folder) == entry.fingerprint
    assert record.summary["validation_accuracy"] is None


def test_a_plan_covers_recipe_store_and_quality_and_needs_them(lake):
    plan = plan_checkpoint(lake, recipe("planned"))
    assert set(plan.inputs["experiments"]["HUVEC-2"]) == {"plate_store", "plate_quality"}
    flagged_too = plan_checkpoint(lake, recipe("planned", uses_flagged_sites=True))
    assert set(flagged_too.inputs["experiments"]["HUVEC-2"]) == {"plate_store"}
    assert plan.fingerprint != flagged_too.fingerprint
    with pytest.raises(ArtifactMissing, match="HUVEC-9"):
        plan_checkpoint(lake, recipe("planned", validation_experiments=["HUVEC-9"]))


def test_a_crop_larger_than_the_sites_is_refused(lake, registry, tmp_path):
    with pytest.raises(RecipeError, match="crop_px is 128, the sites are 64 x 64"):
        train_recipe(lake, registry, recipe("large", augmentation={"crop_px": 128}), work_dir=tmp_path)


def test_the_git_revision_is_read_from_a_checkout(tmp_path):
    assert git_revision(tmp_path) is None
    git = tmp_path / ".git"
    git.mkdir()
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "packed-refs").write_text("# pack-refs\n" + "a" * 40 + " refs/heads/main\n")
    assert git_revision(tmp_path) == "a" * 40
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "refs" / "heads" / "main").write_text("b" * 40 + "\n")
    assert git_revision(tmp_path) == "b" * 40
    (git / "HEAD").write_text("c" * 40 + "\n")
    assert git_revision(tmp_path) == "c" * 40
