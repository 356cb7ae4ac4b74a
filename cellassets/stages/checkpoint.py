"""The stage `checkpoint`: trains a recipe, or sets up a classical encoder, and registers it as a model version.

Every step checks whether it was done before. A killed training continues after its last complete epoch in the same
MLflow run, and a model that was registered but not published is not registered again.
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upath import UPath

from cellassets.fingerprint import fingerprint
from cellassets.stages.settings import recipe
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.stage import Context, Keys, Pod, Stage, settings_of
from cellassets.stages.stores import open_store
from cellassets.stages.work import alone_in
from cellassets.storage.artifact import Record, write_bytes
from cellassets.storage.plan import Plan
from cellassets.training.summary import CheckpointSummary, checkpoint_summary

if TYPE_CHECKING:
    import polars as pl

    from cellassets.progress import Progress
    from cellassets.training.outcome import Outcome
    from cellassets.training.recipe import Recipe

CODE_VERSION = "1"  # raise it when the same recipe and data give other numbers
RUN_NAME = "run.json"


def plan(snapshot: Snapshot, keys: Keys) -> Plan:
    """Returns the plan of a recipe's checkpoint from the present inputs.

    Raises:
        ConfigError: the recipe file is missing or wrong.
        NotReady: an experiment is not stored yet, or its quality table is needed and does not exist.
    """
    from cellassets.training.recipe import NetworkRecipe, recipe_experiments

    name = keys["recipe"]
    chosen = recipe(snapshot, name)
    experiments = recipe_experiments(chosen)
    pins = snapshot.need_all("plate_store", [(name,) for name in experiments])
    if isinstance(chosen, NetworkRecipe) and not chosen.uses_flagged_sites:
        pins = [*pins, *snapshot.need_all("plate_quality", [(name,) for name in experiments])]
    made_from: dict[str, dict[str, str]] = {name: {} for name in experiments}
    for pin in pins:
        made_from[pin.keys[0]][pin.kind] = pin.fingerprint
    inputs = {"recipe": settings_of(chosen), "experiments": made_from, "code_version": CODE_VERSION}
    return snapshot.plan("checkpoint", (name,), inputs, pins=pins, settings={"recipe": chosen})


def make(context: Context, plan: Plan) -> Record:
    """Returns the record of the checkpoint, after training and registering what does not exist yet.

    The MLflow run ends as FINISHED, as FAILED after an error, or as KILLED if the process is interrupted or terminated.
    If two runs start on one machine, the second waits for the first and uses its result.

    Raises:
        RecipeError: the experiments do not fit the recipe.
        TrainingError: the loss is not finite.
    """
    folder = context.deployment.work_folder("training", plan.keys[0])
    with alone_in(folder):
        return context.lake.find_done(plan) or _train_and_publish(context, plan, folder / plan.fingerprint)


def _train_and_publish(context: Context, plan: Plan, folder: Path) -> Record:
    from cellassets.training.termination import termination_as_exit

    registry, chosen = context.registry, plan.settings["recipe"]
    with termination_as_exit():
        run_id = _run_id(context, plan, folder)
        with registry.ended_on_exit(run_id):
            outcome = _carry_out(context, plan, folder, run_id)
            entry = registry.register(
                outcome.folder, name=chosen.name, run_id=run_id, tags=_tags(chosen, plan, outcome)
            )
    names = sorted(path.name for path in outcome.folder.iterdir())
    with context.lake.draft(plan) as draft:
        for name in names:
            write_bytes(draft.folder / name, (outcome.folder / name).read_bytes())
        record = draft.publish(names, checkpoint_summary(outcome, entry))
    shutil.rmtree(folder)
    return record


def _carry_out(context: Context, plan: Plan, folder: Path, run_id: str) -> "Outcome":
    from cellassets.training.classical import set_up_classical
    from cellassets.training.data import open_training_data
    from cellassets.training.recipe import ClassicalRecipe
    from cellassets.training.train import train_network

    chosen = plan.settings["recipe"]
    if isinstance(chosen, ClassicalRecipe):
        return set_up_classical(chosen, folder / "model")
    stores = [open_store(context.lake, pin) for pin in plan.pinned("plate_store")]
    quality = [_quality(context, plan, store.experiment_id) for store in stores]
    data = open_training_data(chosen, stores, quality)

    def add_point(epoch: int, metrics: dict[str, float]) -> None:
        context.registry.log_metrics(run_id, metrics, step=epoch + 1)

    progress: Progress = context.progress
    return train_network(chosen, data, folder=folder, on_epoch=add_point, progress=progress)


def _quality(context: Context, plan: Plan, experiment_id: str) -> "pl.DataFrame | None":
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import QUALITY

    if "plate_quality" not in plan.inputs["experiments"][experiment_id]:
        return None
    published = context.lake.open(plan.pin("plate_quality", experiment_id))
    return read_table(published.file("quality.parquet"), QUALITY)


def _run_id(context: Context, plan: Plan, folder: Path) -> str:
    """Returns the id of the MLflow run: the run that a killed process started, or a new one."""
    from cellassets.training.provenance import code_version

    registry, note, chosen = context.registry, folder / RUN_NAME, plan.settings["recipe"]
    if note.is_file():
        begun: str = json.loads(note.read_text())["run_id"]
        if registry.resume_run(begun):
            return begun
    origin = {"data_fingerprint": _data_fingerprint(plan), "code_version": code_version(), "plan": plan.fingerprint}
    run_id = registry.start_run(chosen.name, parameters={**settings_of(chosen), **origin}, tags=origin)
    write_bytes(UPath(note), json.dumps({"run_id": run_id}).encode())
    registry.log_json(run_id, plan.inputs, "made_from.json")
    return run_id


def _tags(chosen: "Recipe", plan: Plan, outcome: "Outcome") -> dict[str, str]:
    from cellassets.registry.lineage import TrainedOn, declaration
    from cellassets.training.provenance import code_version
    from cellassets.training.recipe import NetworkRecipe, recipe_fingerprint

    tags: dict[str, Any] = {
        "kind": chosen.kind,
        "recipe_name": chosen.name,
        "recipe_fingerprint": recipe_fingerprint(chosen),
        "data_fingerprint": _data_fingerprint(plan),
        "code_version": code_version(),
    }
    if isinstance(chosen, NetworkRecipe):
        tags["embedding_dim"] = str(chosen.embedding_dim)
        tags["validation_accuracy"] = f"{outcome.metrics['validation_accuracy']:.4f}"
        trained_on = TrainedOn(
            experiments=chosen.train_experiments,
            validation_experiments=chosen.validation_experiments,
            perturbations=outcome.perturbations,
        )
        tags |= declaration(trained_on)
    return tags


def _data_fingerprint(plan: Plan) -> str:
    """Returns the fingerprint of the data that a checkpoint is made from, without the recipe."""
    return fingerprint({"experiments": plan.inputs["experiments"]})


CHECKPOINT = Stage(
    name="checkpoint",
    axes=("recipe",),
    summary=CheckpointSummary,
    plan=plan,
    make=make,
    pod=Pod(n_cores=8, memory_gib=32, n_gpus=1, pool="gpu"),
    settings=("recipes/<recipe>.yaml",),
)
