"""Carries a recipe out: trained or set up, registered in MLflow, published in the lake.

Each step is found done when it is done: a killed training goes on after its last epoch in the same MLflow run, a
model that was registered and not published is not registered twice.
"""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from upath import UPath

from cellassets.errors import CellAssetsError
from cellassets.progress import Progress, no_progress
from cellassets.registry import ModelEntry, Registry
from cellassets.storage.artifact import Plan, Record, write_bytes
from cellassets.storage.lake import Lake
from cellassets.training.augmentation import crop_size
from cellassets.training.backbone import build_network, seeded
from cellassets.training.checkpoint import save_model_folder
from cellassets.training.data import TrainingData, image_reader, open_training_data
from cellassets.training.fit import Batches, fit
from cellassets.training.losses import Heads
from cellassets.training.module import OnEpoch, PerturbationClassifier
from cellassets.training.plan import data_fingerprint, plan_checkpoint, recipe_fingerprint
from cellassets.training.provenance import code_version
from cellassets.training.recipe import ClassicalRecipe, NetworkRecipe, Recipe
from cellassets.training.spec import SPEC_NAME, NetworkSpec, Preprocessing

RECIPE_NAME = "recipe.yaml"
RUN_NAME = "run.json"


@dataclass(frozen=True)
class Outcome:
    """A model folder, and what was measured on the way."""

    folder: Path
    metrics: dict[str, float]
    summary: dict[str, Any]


def train_recipe(
    lake: Lake, registry: Registry, recipe: Recipe, *, work_dir: Path, progress: Progress = no_progress
) -> Record:
    """Returns the record of the recipe's checkpoint, after training and registering what is not there yet.

    Args:
        lake: holds the experiments' stores and quality tables; the checkpoint is published there.
        registry: gets the run, its curves and the model version.
        recipe: what to do.
        work_dir: local folder that outlives a killed run; what it leaves there is picked up again.
        progress: told after every epoch, with the loss and the held-out accuracy.

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
    run_id = _run_id(registry, recipe, plan, folder)
    try:
        outcome = _carry_out(lake, recipe, plan, folder=folder, on_epoch=_reporter(registry, run_id, recipe, progress))
    except CellAssetsError:
        registry.finish_run(run_id, is_successful=False)
        raise
    entry = registry.register(outcome.folder, name=recipe.name, run_id=run_id, tags=_tags(recipe, plan, outcome))
    registry.finish_run(run_id, is_successful=True)
    record = _publish(lake, recipe, plan, outcome=outcome, entry=entry)
    shutil.rmtree(folder)
    return record


def _carry_out(lake: Lake, recipe: Recipe, plan: Plan, *, folder: Path, on_epoch: OnEpoch) -> Outcome:
    if isinstance(recipe, ClassicalRecipe):
        return _set_up_classical(recipe, folder / "model")
    data = open_training_data(lake, recipe, plan)
    return _train_network(recipe, data, folder=folder, on_epoch=on_epoch)


def _train_network(recipe: NetworkRecipe, data: TrainingData, *, folder: Path, on_epoch: OnEpoch) -> Outcome:
    spec = _network_spec(recipe, data)
    network = build_network(
        recipe.backbone,
        n_channels=data.n_channels,
        embedding_dim=recipe.embedding_dim,
        trained_px=spec.trained_px,
        seed=recipe.seed,
    )
    with seeded(recipe.seed):
        heads = Heads(recipe.loss, embedding_dim=recipe.embedding_dim, n_classes=len(data.split.class_names))
    n_steps = recipe.n_epochs * math.ceil(data.split.train.n_sites / recipe.batch_size)
    module = PerturbationClassifier(network, heads, recipe=recipe, n_steps=n_steps, on_epoch=on_epoch)
    readers = (image_reader(data.stores, data.split.train), image_reader(data.stores, data.split.validation))
    fit(module, Batches(data.split, readers, recipe), recipe=recipe, work_dir=folder)
    model_folder = save_model_folder(folder / "model", module.network, spec)
    _write_recipe(recipe, model_folder)
    summary = {**data.split.summary, "n_weights": sum(weight.numel() for weight in module.network.parameters())}
    return Outcome(model_folder, module.metrics, summary)


def _set_up_classical(recipe: ClassicalRecipe, folder: Path) -> Outcome:
    described = {
        "kind": recipe.kind,
        "format_version": 1,
        "n_channels": recipe.parameters.n_channels,
        "parameters": recipe.parameters.model_dump(mode="json"),
        "recipe_name": recipe.name,
        "recipe_fingerprint": recipe_fingerprint(recipe),
    }
    write_bytes(UPath(folder / SPEC_NAME), json.dumps(described, indent=1).encode())
    _write_recipe(recipe, folder)
    return Outcome(folder, {}, {})


def _network_spec(recipe: NetworkRecipe, data: TrainingData) -> NetworkSpec:
    return NetworkSpec(
        n_channels=data.n_channels,
        channel_names=data.channel_names,
        embedding_dim=recipe.embedding_dim,
        backbone=recipe.backbone,
        trained_px=min(crop_size(recipe.augmentation, *data.site_px)),
        preprocessing=Preprocessing(normalisation=recipe.normalisation, centre_crop_px=recipe.centre_crop_px),
        recipe_name=recipe.name,
        recipe_fingerprint=recipe_fingerprint(recipe),
    )


def _write_recipe(recipe: Recipe, folder: Path) -> None:
    """A recipe is called as its file, so the copy in a model folder leaves its name out."""
    text = yaml.safe_dump(recipe.model_dump(mode="json", exclude={"name"}), sort_keys=False)
    write_bytes(UPath(folder / RECIPE_NAME), text.encode())


def _run_id(registry: Registry, recipe: Recipe, plan: Plan, folder: Path) -> str:
    """Returns the MLflow run of this work, the one begun before a kill where there is one."""
    note = folder / RUN_NAME
    if note.is_file():
        begun: str = json.loads(note.read_text())["run_id"]
        if registry.resume_run(begun):
            return begun
    origin = {"data_fingerprint": data_fingerprint(plan), "code_version": code_version(), "plan": plan.fingerprint}
    run_id = registry.start_run(recipe.name, parameters={**recipe.model_dump(mode="json"), **origin}, tags=origin)
    registry.log_json(run_id, plan.inputs, "made_from.json")
    write_bytes(UPath(note), json.dumps({"run_id": run_id}).encode())
    return run_id


def _reporter(
    registry: Registry, run_id: str, recipe: Recipe, progress: Progress
) -> Callable[[int, dict[str, float]], None]:
    n_epochs = recipe.n_epochs if isinstance(recipe, NetworkRecipe) else 1

    def report(epoch: int, metrics: dict[str, float]) -> None:
        registry.log_metrics(run_id, metrics, step=epoch + 1)
        what = f"{recipe.name}: loss {metrics['train_loss']:.2f}"
        if "validation_accuracy" in metrics:
            what += f", held-out accuracy {metrics['validation_accuracy']:.3f}"
        progress(epoch + 1, n_epochs, what)

    return report


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
    summary = {
        "model_key": entry.key,
        "model_fingerprint": entry.fingerprint,
        "run_id": entry.run_id,
        "metrics": outcome.metrics,
        "validation_accuracy": outcome.metrics.get("validation_accuracy"),
        "chance_accuracy": outcome.metrics.get("chance_accuracy"),
        **outcome.summary,
    }
    return artifact.publish(plan, names, summary)
