"""Carries a recipe out in a deployment: trained or set up, registered in MLflow, published in the lake.

Every step checks whether it was done before. A killed training continues after its last complete epoch in the same
MLflow run, and a model that was registered but not published is not registered again. The science is in `train.py` and
`classical.py`.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
from upath import UPath

from cellassets.images.reader import ExperimentStore
from cellassets.progress import Progress, no_progress
from cellassets.registry import ModelEntry, Registry
from cellassets.storage.artifact import Plan, Record, write_bytes
from cellassets.storage.lake import Lake
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import QUALITY
from cellassets.training.classical import set_up_classical
from cellassets.training.data import open_training_data
from cellassets.training.module import OnEpoch
from cellassets.training.outcome import Outcome
from cellassets.training.plan import data_fingerprint, plan_checkpoint
from cellassets.training.provenance import code_version
from cellassets.training.recipe import ClassicalRecipe, NetworkRecipe, Recipe, recipe_experiments, recipe_fingerprint
from cellassets.training.summary import checkpoint_summary
from cellassets.training.termination import termination_as_exit
from cellassets.training.train import train_network

RUN_NAME = "run.json"


def train_recipe(
    lake: Lake, registry: Registry, recipe: Recipe, *, work_dir: Path, progress: Progress = no_progress
) -> Record:
    """Returns the record of the recipe's checkpoint, after training and registering what does not exist yet.

    The MLflow run ends as FINISHED, as FAILED after an error, or as KILLED if the process is interrupted or terminated.

    Args:
        lake: holds the stores and quality tables of the experiments; the checkpoint is published there.
        registry: gets the run, its curves and the model version.
        recipe: what to do.
        work_dir: local folder that outlives a killed process. A later call continues from the files in it.
        progress: receives the number of batches trained, every few seconds and after every epoch.

    Raises:
        ArtifactMissing: an experiment is not stored yet.
        RecipeError: the experiments do not fit the recipe.
        TrainingError: the loss is not finite.
    """
    plan = plan_checkpoint(lake, recipe)
    artifact = lake.checkpoint(recipe.name)
    if artifact.is_done(plan):
        return artifact.record()
    folder = work_dir / plan.fingerprint
    with termination_as_exit():
        run_id = _run_id(registry, recipe, plan, folder)
        with registry.ended_on_exit(run_id):
            outcome = _carry_out(lake, recipe, plan, folder, (_curves(registry, run_id), progress))
            tags = _tags(recipe, plan, outcome)
            entry = registry.register(outcome.folder, name=recipe.name, run_id=run_id, tags=tags)
    record = _publish(lake, recipe, plan, outcome=outcome, entry=entry)
    shutil.rmtree(folder)
    return record


def _carry_out(lake: Lake, recipe: Recipe, plan: Plan, folder: Path, listeners: tuple[OnEpoch, Progress]) -> Outcome:
    if isinstance(recipe, ClassicalRecipe):
        return set_up_classical(recipe, folder / "model")
    inputs = [(name, plan.inputs["experiments"][name]) for name in recipe_experiments(recipe)]
    stores = [ExperimentStore.open(lake, name, its["plate_store"]) for name, its in inputs]
    quality = [_quality(lake, name, its.get("plate_quality")) for name, its in inputs]
    data = open_training_data(recipe, stores, quality)
    return train_network(recipe, data, folder=folder, on_epoch=listeners[0], progress=listeners[1])


def _quality(lake: Lake, experiment_id: str, expected_fingerprint: str | None) -> pl.DataFrame | None:
    if expected_fingerprint is None:
        return None
    artifact = lake.plate_quality(experiment_id)
    return read_table(artifact.path("quality.parquet", artifact.record(expected_fingerprint)), QUALITY)


def _run_id(registry: Registry, recipe: Recipe, plan: Plan, folder: Path) -> str:
    """The MLflow run of this work: the one that a killed process began, or a new one."""
    note = folder / RUN_NAME
    if note.is_file():
        begun: str = json.loads(note.read_text())["run_id"]
        if registry.resume_run(begun):
            return begun
    origin = {"data_fingerprint": data_fingerprint(plan), "code_version": code_version(), "plan": plan.fingerprint}
    run_id = registry.start_run(recipe.name, parameters={**recipe.model_dump(mode="json"), **origin}, tags=origin)
    write_bytes(UPath(note), json.dumps({"run_id": run_id}).encode())
    registry.log_json(run_id, plan.inputs, "made_from.json")
    return run_id


def _curves(registry: Registry, run_id: str) -> OnEpoch:
    def add_point(epoch: int, metrics: dict[str, float]) -> None:
        registry.log_metrics(run_id, metrics, step=epoch + 1)

    return add_point


def _tags(recipe: Recipe, plan: Plan, outcome: Outcome) -> dict[str, str]:
    tags = {
        "kind": recipe.kind,
        "recipe_name": recipe.name,
        "recipe_fingerprint": recipe_fingerprint(recipe),
        "data_fingerprint": data_fingerprint(plan),
        "code_version": code_version(),
    }
    if isinstance(recipe, NetworkRecipe):
        tags["embedding_dim"] = str(recipe.embedding_dim)
        tags["validation_accuracy"] = f"{outcome.metrics['validation_accuracy']:.4f}"
    return tags


def _publish(lake: Lake, recipe: Recipe, plan: Plan, *, outcome: Outcome, entry: ModelEntry) -> Record:
    artifact = lake.checkpoint(recipe.name)
    names = sorted(path.name for path in outcome.folder.iterdir())
    for name in names:
        write_bytes(artifact.folder(plan.fingerprint) / name, (outcome.folder / name).read_bytes())
    summary: dict[str, Any] = checkpoint_summary(outcome, entry).model_dump(mode="json")
    return artifact.publish(plan, names, summary)
