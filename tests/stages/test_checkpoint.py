"""`checkpoint`: trained once, continued after a kill in the same MLflow run, registered once, published whole."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml

from cellassets.errors import RecipeError, RegistryError, StaleArtifact, TrainingError
from cellassets.reconcile.standing import recipe_agenda
from cellassets.reconcile.work import Waiting
from cellassets.registry import Registry, folder_fingerprint
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import open_snapshot, stage_named
from cellassets.stages.checkpoint import curves
from cellassets.stages.snapshot import NotReady
from cellassets.stages.stage import Context
from cellassets.stages.state import state_of
from cellassets.storage.lake import Published, shared_folder
from cellassets.training.attempts import Attempt
from cellassets.training.checkpoint import load_network
from cellassets.training.provenance import code_version
from cellassets.training.summary import CheckpointSummary

pytestmark = pytest.mark.usefixtures("one_thread")
NETWORK = {
    "kind": "network",
    "train_experiments": ["HUVEC-1"],
    "validation_experiments": ["HUVEC-2"],
    "backbone": {"family": "resnet", "stem_width": 8, "widths": [8, 16], "depths": [1, 1]},
    "embedding_dim": 8,
    "augmentation": {"crop_px": 48},
    "n_epochs": 2,
}


@pytest.fixture
def train(screen):
    """Writes a recipe and carries it out: `train("first", n_epochs=1)`."""

    def train(name, progress=None, **changes):
        screen.set(f"recipes/{name}.yaml", {**NETWORK, **changes})
        return screen.make("checkpoint", name, **({} if progress is None else {"progress": progress})).record

    return train


def keep(reports):
    return lambda *report, note="": reports.append((report, note))


def work_left(screen):
    return [
        path for path in (screen.home / "work" / "training").rglob("*") if path.is_file() and path.suffix != ".lock"
    ]


def is_published(screen, name):
    return screen.lake.artifact("checkpoint", name).find_record() is not None


def runs_of(registry, name):
    experiment = registry.client().get_experiment_by_name("cellassets")
    return registry.client().search_runs([experiment.experiment_id], f"attributes.run_name = '{name}'")


def the_run(registry, name):
    (run,) = runs_of(registry, name)
    return run.info


def the_statuses(registry, name):
    return {run.info.status for run in runs_of(registry, name)}


def test_a_recipe_becomes_a_registered_model_with_curves_and_provenance(screen, train, tmp_path):
    reports, registry = [], screen.registry
    record = train("first", keep(reports))

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
    assert work_left(screen) == [], "the work folder is empty after the publication"

    entry = registry.find("first.v1")
    assert entry.kind == "network"
    assert entry.tags["recipe_name"] == "first"
    assert entry.tags["embedding_dim"] == "8"
    assert entry.tags["code_version"] == code_version()
    folder = registry.fetch("first.v1", tmp_path)
    names = ["classifier.safetensors", "encoder.json", "recipe.yaml", "weights.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert {file.name for file in record.files} == {path.name for path in folder.iterdir()} | {"curves.json"}
    _, spec = load_network(folder)
    assert (spec.n_channels, spec.embedding_dim, spec.trained_px, spec.recipe_name) == (6, 8, 48, "first")
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["train_experiments"] == ["HUVEC-1"]

    run = registry.client().get_run(record.summary["run_id"])
    assert run.info.status == "FINISHED"
    read = {one.dataset.name: (one.dataset.digest, one.tags[0].value) for one in run.inputs.dataset_inputs}
    assert read == {
        name: (screen.lake.current("plate_store", name).record.fingerprint, context)
        for name, context in (("HUVEC-1", "training"), ("HUVEC-2", "validation"))
    }
    assert run.data.params["backbone.family"] == "resnet"
    assert run.data.tags["data_fingerprint"] == entry.tags["data_fingerprint"]
    for name in ("train_loss", "sites_per_second", "data_wait_frac", "peak_memory_gib"):
        assert len(registry.client().get_metric_history(run.info.run_id, name)) == 2, name
    assert {item.path for item in registry.client().list_artifacts(run.info.run_id)} == {"made_from.json", "model"}


def test_what_a_killed_process_left_in_the_work_folder_does_not_get_into_the_model(screen, train, tmp_path):
    clean = train("clean", n_epochs=1)
    left = screen.home / "work" / "training" / "left" / "model"
    left.mkdir(parents=True)
    (left / ".recipe.yaml.6a221acd.tmp").write_text("half")
    (left / "notes.txt").write_text("of an earlier version")
    record = train("left", n_epochs=1)
    names = ["classifier.safetensors", "encoder.json", "recipe.yaml", "weights.safetensors"]
    assert sorted(file.name for file in record.files) == sorted(["curves.json", *names])
    folder = screen.registry.fetch("left.v1", tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}, "other users read them too"
    assert [f.crc32c for f in record.files if f.name == "weights.safetensors"] == [
        f.crc32c for f in clean.files if f.name == "weights.safetensors"
    ]


def test_mlflow_links_to_the_partition_and_asks_for_no_second_run_when_the_address_changes(screen):
    screen.set("recipes/linked.yaml", {**NETWORK, "n_epochs": 1})
    stage = stage_named("checkpoint")
    places = replace(screen.deployment, ui_url="https://dagster.example")
    summary = carry_out(stage, places, {"recipe": "linked"}).record.summary
    link = "[checkpoint of linked in Dagster](https://dagster.example/assets/checkpoint?partition=linked)"
    client = screen.registry.client()
    assert client.get_run(summary["run_id"]).data.tags["mlflow.note.content"] == link
    assert client.get_model_version("linked", "1").description == link
    moved = replace(places, ui_url="https://elsewhere.example")
    assert carry_out(stage, moved, {"recipe": "linked"}).record.summary == summary


def test_what_is_trained_already_is_not_trained_again(train):
    first = train("twice", n_epochs=1)
    reports = []
    assert train("twice", keep(reports), n_epochs=1) == first
    assert reports == []


def test_a_changed_recipe_makes_the_next_version(train):
    keys = [train("changed", n_epochs=1, seed=seed).summary["model_key"] for seed in (0, 1)]
    assert keys == ["changed.v1", "changed.v2"]


def test_a_kill_between_registering_and_publishing_registers_nothing_twice(screen, train):
    first = train("cut", n_epochs=1)
    screen.lake.artifact("checkpoint", "cut").record_path(1).unlink()
    again = train("cut", n_epochs=1)
    assert again.summary["model_key"] == first.summary["model_key"] == "cut.v1"
    assert [entry.key for entry in screen.registry.list_models() if entry.name == "cut"] == ["cut.v1"]


PROGRAM = """
import os, signal, sys
from contextlib import nullcontext
from pathlib import Path
import torch
from dagster._core.errors import raise_execution_interrupts
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment

home, name, last_epoch, signal_name, handlers = sys.argv[1:]
epochs = []

def progress(n_done, n_total, what, note=""):
    if n_done * 4 % n_total == 0 and "held-out accuracy" in note and n_done not in epochs:
        epochs.append(n_done)
        print(len(epochs), flush=True)
        if len(epochs) == int(last_epoch):
            os.kill(os.getpid(), getattr(signal, signal_name))

torch.set_num_threads(1)
deployment = Deployment.of({}, home=Path(home), configs=Path(home) / "configs")
with raise_execution_interrupts() if handlers == "dagster" else nullcontext():
    carry_out(stage_named("checkpoint"), deployment, {"recipe": name}, progress=progress)
"""


def stopped(screen, name, how) -> subprocess.CompletedProcess:
    """A process that trains four epochs and gets a signal after some of them; `how` is (epoch, signal, handlers)."""
    screen.set(f"recipes/{name}.yaml", {**NETWORK, "n_epochs": 4})
    command = [sys.executable, "-c", PROGRAM, str(screen.home), name, *how]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))


def on_another_machine(screen):
    """Only the lake, the registry and the settings are there; the local work folder is empty."""
    shutil.rmtree(screen.home / "work")
    return screen


def weights_of(screen, name):
    return screen.lake.current("checkpoint", name).path("weights.safetensors").read_bytes()


def states_left(screen, name):
    return list(screen.lake.artifact("checkpoint", name).data.rglob("*training*"))


@pytest.fixture(scope="module")
def undisturbed(screened, tmp_path_factory):
    """The weights after four epochs without a signal."""
    place = screened.copy(tmp_path_factory.mktemp("undisturbed") / "home")
    place.set("recipes/straight.yaml", {**NETWORK, "n_epochs": 4})
    place.make("checkpoint", "straight")
    return weights_of(place, "straight")


@pytest.mark.slow
@pytest.mark.parametrize("handlers", [pytest.param("python", marks=pytest.mark.long), "dagster"])
def test_a_terminated_training_is_marked_killed_and_goes_on_elsewhere(screen, train, undisturbed, handlers):
    ended = stopped(screen, "terminated", ("2", "SIGTERM", handlers))
    assert ended.returncode in (143, 1), ended.stderr
    assert ended.stdout.split() == ["1", "2"], "it ends at once"
    killed = the_run(screen.registry, "terminated")
    assert (killed.status, killed.end_time is None) == ("KILLED", False)
    on_another_machine(screen)
    assert train("terminated", n_epochs=4).summary["run_id"] == killed.run_id
    assert the_run(screen.registry, "terminated").status == "FINISHED"
    assert weights_of(screen, "terminated") == undisturbed


@pytest.mark.slow
def test_a_killed_training_goes_on_elsewhere_to_the_very_same_weights(screen, train, undisturbed):
    killed = stopped(screen, "killed", ("3", "SIGKILL", "python"))
    assert (killed.returncode, killed.stdout.split()) == (-signal.SIGKILL, ["1", "2", "3"]), killed.stderr
    assert not is_published(screen, "killed")
    assert the_run(screen.registry, "killed").status == "RUNNING", "a killed process cannot say so"

    on_another_machine(screen)
    reports, registry = [], screen.registry
    record = train("killed", keep(reports), n_epochs=4)
    (n_done, n_total, _), _ = reports[0]
    assert n_done == n_total // 2 + 1, "the third epoch was not saved and is trained again"
    curve = registry.client().get_metric_history(record.summary["run_id"], "train_loss")
    assert sorted({point.step for point in curve}) == [1, 2, 3, 4], "one run holds the whole curve"
    published = Published(screen.lake.artifact("checkpoint", "killed"), record)
    assert [epoch["epoch"] for epoch in curves(published)] == [1, 2, 3, 4], "and so does the checkpoint"
    assert the_run(registry, "killed").status == "FINISHED"
    assert weights_of(screen, "killed") == undisturbed
    assert states_left(screen, "killed") == [], "nothing is left after the publication"


@pytest.mark.slow
def test_a_training_by_an_outdated_recipe_leaves_no_states(screen, train):
    stopped(screen, "edited", ("2", "SIGKILL", "python"))
    assert states_left(screen, "edited")
    reports = []
    train("edited", keep(reports), n_epochs=1)
    assert reports[0][0][0] == 1, "it starts at the first batch"
    assert states_left(screen, "edited") == []
    assert the_statuses(screen.registry, "edited") == {"KILLED", "FINISHED"}, "no run is left as RUNNING"


def test_a_process_that_was_replaced_stops_and_publishes_nothing(screen, train):
    def take_over(*_, note=""):
        folder = shared_folder(screen.plan("checkpoint", "replaced").fingerprint, 1)
        kept = screen.lake.artifact("checkpoint", "replaced").data / folder
        if note.startswith("epoch 2"):
            Attempt.begin(kept / "training")

    with pytest.raises(StaleArtifact, match="attempt 1 at the training, and attempt 2 has begun"):
        train("replaced", take_over, n_epochs=3)
    assert not is_published(screen, "replaced")
    assert the_run(screen.registry, "replaced").status == "RUNNING", "the run belongs to the one that took over"
    assert train("replaced", n_epochs=3).summary["model_key"] == "replaced.v1"


def registered_keys(screen, name):
    return [entry.key for entry in screen.registry.list_models() if entry.name == name]


def state(screen, name):
    return state_of(open_snapshot(screen.deployment), "checkpoint", name)


def test_a_deleted_version_is_registered_again_from_the_lake(screen, train, tmp_path):
    first = train("lost", n_epochs=1)
    before = screen.registry.find("lost.v1")
    assert state(screen, "lost").status == "current"
    screen.registry.client().delete_model_version("lost", "1")
    found = state(screen, "lost")
    assert (found.status, found.generation) == ("due", 1)
    assert "model lost.v1 was deleted from the registry; it is registered again from the lake" in found.reason
    agenda = recipe_agenda(open_snapshot(screen.deployment))
    assert [work.keys for work in agenda.work] == [{"recipe": "lost"}], "a sensor asks for it"
    assert agenda.waiting == [Waiting("checkpoint of lost", found.reason)], "status says it"

    reports = []
    again = train("lost", keep(reports), n_epochs=1)
    assert reports == [], "nothing is trained"
    assert (again.generation, again.fingerprint, again.files) == (2, first.fingerprint, first.files)
    assert again.summary == {**first.summary, "model_key": "lost.v2", "restored_from": "lost.v1"}
    entry = screen.registry.find("lost.v2")
    assert (entry.fingerprint, entry.tags) == (before.fingerprint, before.tags), "also what it was trained on"
    assert folder_fingerprint(screen.registry.fetch("lost.v2", tmp_path)) == before.fingerprint
    assert state(screen, "lost").status == "current"
    assert train("lost", n_epochs=1) == again
    assert registered_keys(screen, "lost") == ["lost.v2"]


@pytest.mark.parametrize("how", ["the registered model was deleted", "the database was lost"])
def test_a_version_whose_number_is_free_keeps_its_key(screen, empty_home, how):
    screen.set("recipes/classical.yaml", {"kind": "classical"})
    first = screen.make("checkpoint", "classical").record
    if how == "the database was lost":
        shutil.copy(empty_home / "mlflow.db", screen.home / "mlflow.db")
    else:
        screen.registry.client().delete_registered_model("classical")
    assert state(screen, "classical").status == "due"
    again = screen.make("checkpoint", "classical").record
    assert (again.generation, again.files) == (2, first.files)
    assert again.summary["model_key"] == "classical.v1"
    assert registered_keys(screen, "classical") == ["classical.v1"]
    assert state(screen, "classical").status == "current"


def test_a_deleted_version_that_policy_retires_stays_deleted(screen):
    screen.set("recipes/classical.yaml", {"kind": "classical"})
    first = screen.make("checkpoint", "classical")
    screen.registry.client().delete_model_version("classical", "1")
    screen.set("policy.yaml", {"models": {"retired": ["classical.v1"]}})
    assert state(screen, "classical").status == "current"
    assert screen.make("checkpoint", "classical") == first
    assert registered_keys(screen, "classical") == []


def test_a_registry_that_does_not_answer_makes_no_checkpoint_due(screen, monkeypatch):
    screen.set("recipes/classical.yaml", {"kind": "classical"})
    first = screen.make("checkpoint", "classical")

    def no_answer(_):
        raise RegistryError("it does not answer")

    monkeypatch.setattr(Registry, "list_models", no_answer)
    assert state(screen, "classical").status == "current"
    assert screen.make("checkpoint", "classical") == first


def test_a_failed_training_is_marked_failed_and_publishes_nothing(screen, train):
    hopeless = {"name": "sgd", "learning_rate": 1e20, "warmup_frac": 0}
    with pytest.raises(TrainingError, match="hopeless: loss is"):
        train("hopeless", optimiser=hopeless)
    assert not is_published(screen, "hopeless")
    assert the_run(screen.registry, "hopeless").status == "FAILED"


def test_a_classical_recipe_is_registered_without_training(screen, tmp_path):
    screen.set("recipes/classical.yaml", {"kind": "classical"})
    record = screen.make("checkpoint", "classical").record
    entry = screen.registry.find("classical.v1")
    assert (entry.kind, record.summary["model_key"]) == ("classical", "classical.v1")
    folder = screen.registry.fetch("classical.v1", tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["encoder.json", "recipe.yaml"]
    assert folder_fingerprint(folder) == entry.fingerprint
    assert CheckpointSummary.model_validate(record.summary).validation_accuracy is None


def test_a_plan_covers_recipe_store_and_quality_and_needs_them(screen):
    screen.set("recipes/planned.yaml", NETWORK)
    screen.set("recipes/flagged.yaml", {**NETWORK, "uses_flagged_sites": True})
    screen.set("recipes/missing.yaml", {**NETWORK, "validation_experiments": ["HUVEC-9"]})
    plan, flagged_too = (screen.plan("checkpoint", name) for name in ("planned", "flagged"))
    assert set(plan.inputs["experiments"]["HUVEC-2"]) == {"plate_store", "plate_quality"}
    assert set(flagged_too.inputs["experiments"]["HUVEC-2"]) == {"plate_store"}
    assert plan.fingerprint != flagged_too.fingerprint
    with pytest.raises(NotReady, match="plate_store of HUVEC-9"):
        screen.plan("checkpoint", "missing")


def test_a_crop_larger_than_the_sites_is_refused(train):
    with pytest.raises(RecipeError, match="crop_px is 128, the sites are 64 x 64"):
        train("large", augmentation={"crop_px": 128})


@pytest.mark.parametrize("kind", ["plate_store", "plate_quality"])
def test_a_network_is_trained_on_the_inputs_of_its_plan(screen, made_from_pins, publish_newer, kind):
    screen.set("recipes/pinned.yaml", {**NETWORK, "n_epochs": 1})

    def publish():
        if kind == "plate_quality":
            is_flagged = ((pl.col("site_index") == 2) & (pl.col("well_id") > "C")).alias("is_flagged")
            publish_newer(
                screen.deployment, kind, "HUVEC-1", change={"quality.parquet": lambda t: t.with_columns(is_flagged)}
            )
            return
        for experiment_id in ("HUVEC-1", "HUVEC-2"):
            fewer = {"images.parquet": lambda images: images.filter(images["site_index"] == 1)}
            publish_newer(screen.deployment, "raw_plates", experiment_id, change=fewer)
            screen.make("plate_store", experiment_id)
            screen.make("plate_quality", experiment_id)

    after = made_from_pins(screen, "checkpoint", ("pinned",), publish, ignored=("curves.json",))
    assert after.summary["model_key"] == "pinned.v2"


def test_a_recipe_that_changes_between_plan_and_training_changes_nothing(screen):
    screen.set("recipes/edited.yaml", {"kind": "classical", "parameters": {"families": ["intensity"]}})
    plan = screen.plan("checkpoint", "edited")
    screen.set("recipes/edited.yaml", {"kind": "classical", "parameters": {"families": ["sizeshape"]}})
    stage_named("checkpoint").make(Context(screen.deployment), plan)
    folder = screen.lake.current("checkpoint", "edited").folder
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["parameters"]["families"] == ["intensity"]


def test_two_runs_at_once_train_once_and_register_one_version(screen, made_once_by_two):
    screen.set("recipes/both.yaml", {**NETWORK, "n_epochs": 1})
    made_once_by_two(screen, "checkpoint", "both")
    assert [entry.key for entry in screen.registry.list_models() if entry.name == "both"] == ["both.v1"]
    screen.make("checkpoint", "both")  # ends the run
    assert the_run(screen.registry, "both").status == "FINISHED"


def test_a_work_folder_that_another_run_removes_meanwhile_is_no_error(screen, monkeypatch):
    """The other run removes it after `mkdir` has found it and before `mkdir` looks whether it is a folder."""
    screen.set("recipes/raced.yaml", {"kind": "classical"})
    folder, is_dir = screen.home / "work" / "training" / "raced", Path.is_dir
    folder.mkdir(parents=True)

    def removed_meanwhile(path):
        if path == folder:
            shutil.rmtree(folder, ignore_errors=True)
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", removed_meanwhile)
    assert screen.make("checkpoint", "raced").record.summary["model_key"] == "raced.v1"
