"""The stage `checkpoint`: trains a recipe, or sets up a classical encoder, and registers it as a model version.

Every step checks whether it was done before. The state of a training is kept in the lake: a killed training continues
after its last complete epoch, on any machine and in the same MLflow run. A model that was registered but not published
is not registered again. A model version that was deleted from the registry is registered again from the lake.
"""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upath import UPath

from cellassets.errors import RegistryError, StaleArtifact
from cellassets.fingerprint import fingerprint
from cellassets.stages.families import family, find_variant, recipe
from cellassets.stages.settings import policy
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.stage import Context, Keys, Stage, settings_of
from cellassets.stages.stores import training_sources
from cellassets.stages.training_ends import PLAN_TAG, STATES, remove_outdated_states, settle
from cellassets.stages.training_inputs import require_network, training_inputs
from cellassets.stages.variants import (
    is_to_be_trained_on,
    outcome_of,
    poor_variant,
    run_tags,
    stopped_without_rule,
    tag_outcome,
    version_tags,
)
from cellassets.stages.work import alone_in
from cellassets.storage.artifact import Record, write_bytes
from cellassets.storage.lake import Published
from cellassets.storage.plan import Plan
from cellassets.training.summary import CheckpointSummary, checkpoint_summary

if TYPE_CHECKING:
    from cellassets.progress import Progress
    from cellassets.registry import ModelEntry, Registry
    from cellassets.registry.runs import TrainedExperiment
    from cellassets.training.attempts import Attempt
    from cellassets.training.data import TrainingData
    from cellassets.training.outcome import Outcome
    from cellassets.training.recipe import Recipe

CODE_VERSION = "1"  # raise it when the same recipe and data give other numbers
NOTE_TAG = "mlflow.note.content"  # MLflow shows it as the description of a run
CURVES_NAME = "curves.json"  # beside the files of the model, not one of them: it holds times
SMALLER = (
    "lower batch_size of the recipe (optimiser.n_batches_per_step keeps the steps as large). The unchanged recipe goes "
    "on after its last complete epoch"
)
logger = logging.getLogger(__name__)


def plan(snapshot: Snapshot, keys: Keys) -> Plan:
    """Returns the plan of a recipe's checkpoint from the present inputs.

    Raises:
        ConfigError: the recipe file is missing or wrong.
        NotReady: an experiment is not stored yet, or its quality table is needed and does not exist.
        RegistryError: the model version that the recipe starts from is not registered.
    """
    from cellassets.training.recipe import NetworkRecipe, recipe_experiments

    name = keys["recipe"]
    chosen = recipe(snapshot, name)
    pins = training_inputs(snapshot, chosen)
    made_from: dict[str, dict[str, str]] = {name: {} for name in recipe_experiments(chosen)}
    for pin in pins:
        made_from[pin.keys[0]][pin.kind] = pin.fingerprint
    inputs = {"recipe": settings_of(chosen), "experiments": made_from, "code_version": CODE_VERSION}
    settings: dict[str, Any] = {"recipe": chosen}
    if isinstance(chosen, NetworkRecipe) and chosen.start_from is not None:
        settings["parent"] = snapshot.model(chosen.start_from)
        inputs["start_from"] = settings["parent"].fingerprint
    variant = find_variant(snapshot, name)
    if variant is not None:  # not an input: a variant is the same as a recipe file with its content
        settings |= {"variant": variant, "family": family(snapshot, variant.family)}
    return snapshot.plan("checkpoint", (name,), inputs, pins=pins, settings=settings)


def make(context: Context, plan: Plan) -> Record:
    """Returns the record of the checkpoint, after training and registering what does not exist yet.

    The MLflow run ends as FAILED after an error, or as KILLED if the process is interrupted or terminated. What was
    published ends as FINISHED, by `settle`.
    If two runs start on one machine, the second waits for the first and uses its result. If they start on two machines,
    the second takes over from the first. A variant of a search that is stopped as poor, or whose loss is not finite, is
    published without a model.

    Raises:
        RecipeError: the experiments, or the weights to start from, do not fit the recipe.
        TrainingError: the loss is not finite.
        ProcessLost: a process or a node of a training in several was lost.
        OutOfMemory: the pod or the GPU has too little memory.
        StaleArtifact: another process took over.
    """
    folder = context.deployment.work_folder("training") / plan.keys[0]  # the run that has the lock makes and removes it
    with alone_in(folder):
        shutil.rmtree(folder, ignore_errors=True)  # files of a killed process; the run before this one removed it
        done = context.lake.find_done(plan)
        if done is None or is_to_be_trained_on(plan, done):
            record = _train_and_publish(context, plan, folder)
        else:
            record = _registered(context, plan, done, folder)
        shutil.rmtree(folder, ignore_errors=True)
        return record


def lost(snapshot: Snapshot, summary: CheckpointSummary) -> str:
    """Returns that the model version of a checkpoint was deleted from the registry; '' if it is there or retired.

    Nothing is said while the registry does not answer. A variant that was stopped as poor has no version; it is due
    again if its search no longer stops variants.
    """
    if summary.model_key is None:
        return stopped_without_rule(snapshot, summary)
    try:
        is_there = summary.model_key in {entry.key for entry in snapshot.models()}
    except RegistryError:
        return ""
    if is_there or summary.model_key in policy(snapshot).models.retired:
        return ""
    return (
        f"model {summary.model_key} was deleted from the registry; it is registered again from the lake. If it should "
        "stay deleted, name it in models.retired of policy.yaml"
    )


def _train_and_publish(context: Context, plan: Plan, folder: Path) -> Record:
    from cellassets.training.attempts import Attempt
    from cellassets.training.termination import termination_as_exit

    registry = context.registry
    with termination_as_exit(), context.lake.draft(plan, is_shared=True) as kept:
        remove_outdated_states(kept.artifact.data, but=kept.folder)
        attempt = Attempt.begin(kept.folder / STATES)
        run_id = _run_id(context, plan)
        with registry.ended_on_error(run_id):
            outcome = outcome_of(plan, lambda: _carry_out(context, plan, folder, (attempt, run_id)), folder)
            attempt.require_newest()
            tag_outcome(registry, run_id, outcome)
            entry = _register(context, plan, outcome, run_id) if outcome.is_model else None
            summary = checkpoint_summary(outcome, entry, run_id=run_id, variant=plan.settings.get("variant"))
            return _publish(context, plan, outcome, summary)


def _registered(context: Context, plan: Plan, done: Record, folder: Path) -> Record:
    """Returns the record of a published checkpoint whose model version exists, after registering it again if needed.

    MLflow does not use the number of a deleted version again, so the new version usually has another key. The
    checkpoint is published again, since the next loss must be other work for the sensors (`reconcile.work`).
    """
    summary = CheckpointSummary.model_validate(done.summary)
    if summary.model_key is None or summary.model_key in {entry.key for entry in context.registry.list_models()}:
        return done
    outcome = _outcome_of(context, plan, done, folder / "model")
    entry = _register(context, plan, outcome, None)
    if entry.key != summary.model_key:
        logger.warning(
            "model %s was deleted from the registry; its files are registered again as %s, since MLflow does not use a "
            "number twice. Embeddings and scores of %s have to be made again",
            *(summary.model_key, entry.key, entry.key),
        )
    restored = {"model_key": entry.key, "restored_from": summary.model_key}
    return _publish(context, plan, outcome, summary.model_copy(update=restored))


def _outcome_of(context: Context, plan: Plan, done: Record, folder: Path) -> "Outcome":
    """Returns the outcome of a published training, with its files in a local folder.

    Raises:
        CorruptArtifact: the published files are damaged.
    """
    from cellassets.training.outcome import Outcome
    from cellassets.training.recipe import NetworkRecipe

    published = Published(context.lake.artifact(done.kind, *done.keys), done)
    published.artifact.verify(done)
    names = tuple(name for name in published.names if name != CURVES_NAME)
    for name in names:
        write_bytes(UPath(folder / name), published.path(name).read_bytes())
    summary = CheckpointSummary.model_validate(done.summary)
    is_network = isinstance(plan.settings["recipe"], NetworkRecipe)
    classes = _training_data(context, plan).perturbations if is_network else ()
    history = tuple(curves(published))
    return Outcome(folder, names, summary.metrics, perturbations=classes, history=history)


def _register(context: Context, plan: Plan, outcome: "Outcome", run_id: str | None) -> "ModelEntry":
    chosen = plan.settings["recipe"]
    tags = {**_tags(context.registry, plan, outcome), **_image(context)}
    return context.registry.register(
        outcome.folder,
        name=chosen.name,
        run_id=run_id,
        tags=tags,
        names=outcome.names,
        description=_note(context, chosen.name),
    )


def _publish(context: Context, plan: Plan, outcome: "Outcome", summary: CheckpointSummary) -> Record:
    with context.lake.draft(plan) as draft:
        for name in outcome.names:
            write_bytes(draft.folder / name, (outcome.folder / name).read_bytes())
        if outcome.history:
            write_bytes(draft.folder / CURVES_NAME, json.dumps(outcome.history).encode())
        return draft.publish([*outcome.names, *([CURVES_NAME] if outcome.history else [])], summary)


def curves(published: Published) -> list[dict[str, float]]:
    """Returns the metrics and the speed of every epoch of a training; none if nothing was trained.

    Trainings by earlier versions of cellassets have none either.
    """
    return json.loads(published.path(CURVES_NAME).read_bytes()) if CURVES_NAME in published.names else []


def _carry_out(context: Context, plan: Plan, folder: Path, run: tuple["Attempt", str]) -> "Outcome":
    from cellassets.stages.training_curves import curves_kept
    from cellassets.training.classical import set_up_classical
    from cellassets.training.memory import memory_errors_named
    from cellassets.training.processes.launch import Followers, train_together
    from cellassets.training.recipe import ClassicalRecipe
    from cellassets.training.train import train_network

    chosen, (attempt, run_id) = plan.settings["recipe"], run
    if isinstance(chosen, ClassicalRecipe):
        return set_up_classical(chosen, folder / "model")
    data = _training_data(context, plan)
    if "parent" in plan.settings:
        data = replace(data, parent=_parent_folder(context, plan, folder))

    progress: Progress = context.progress
    training = f"training of {chosen.name} with batch_size {chosen.batch_size}"
    with (
        curves_kept(context, run_id) as curves,
        memory_errors_named(training, stage="checkpoint", smaller=SMALLER),
    ):

        def add_point(epoch: int, metrics: dict[str, float]) -> None:
            curves.add(epoch + 1, metrics)

        if chosen.devices.n_processes == 1:
            outcome = train_network(
                chosen,
                data,
                folder=folder,
                attempt=attempt,
                on_epoch=add_point,
                progress=progress,
                poor=poor_variant(context, plan, attempt),
            )
        else:
            outcome = train_together(
                chosen,
                data,
                folder=folder,
                attempt=attempt,
                followers=Followers(add_point, progress),
                nodes=context.nodes,
            )
    curves.finish(outcome.history)
    return outcome


def _training_data(context: Context, plan: Plan) -> "TrainingData":
    from cellassets.training.data import open_sources

    return open_sources(plan.settings["recipe"], training_sources(context.lake, plan.pins))


def _parent_folder(context: Context, plan: Plan, folder: Path) -> Path:
    """Returns the model folder of the version that the recipe starts from.

    Raises:
        StaleArtifact: other files are registered under its key now.
        RecipeError: it is not a network.
    """
    parent: ModelEntry = plan.settings["parent"]
    now = context.registry.find(parent.key)
    if now.fingerprint != parent.fingerprint:
        message = (
            f"model {parent.key}: its files are {now.fingerprint}, and the plan of {plan} was made for "
            f"{parent.fingerprint}; materialise it again"
        )
        raise StaleArtifact(message)
    require_network(parent)
    return context.registry.fetch(parent.key, folder / "parent")


def _run_id(context: Context, plan: Plan) -> str:
    """Returns the id of the MLflow run: the run that a killed process started, or a new one."""
    from cellassets.training.provenance import code_version

    registry, chosen = context.registry, plan.settings["recipe"]
    begun = registry.take_up_run(chosen.name, {PLAN_TAG: plan.fingerprint})
    if begun is not None:
        return begun
    origin = {"data_fingerprint": _data_fingerprint(plan), "code_version": code_version(), PLAN_TAG: plan.fingerprint}
    origin |= _image(context) | run_tags(plan)
    note = {NOTE_TAG: text} if (text := _note(context, chosen.name)) else {}
    run_id = registry.start_run(chosen.name, parameters={**settings_of(chosen), **origin}, tags={**origin, **note})
    registry.log_json(run_id, plan.inputs, "made_from.json")
    registry.log_experiments(run_id, _experiments(context, plan))
    return run_id


def _experiments(context: Context, plan: Plan) -> "list[TrainedExperiment]":
    from cellassets.registry.runs import TrainedExperiment
    from cellassets.training.recipe import NetworkRecipe, trained_experiments

    chosen = plan.settings["recipe"]
    trained = trained_experiments(chosen) if isinstance(chosen, NetworkRecipe) else ()
    return [
        TrainedExperiment(
            name=pin.keys[0],
            fingerprint=pin.fingerprint,
            place=str(context.lake.open(pin).folder),
            context="training" if pin.keys[0] in trained else "validation",
        )
        for pin in plan.pinned("plate_store")
    ]


def _note(context: Context, recipe_name: str) -> str:
    """Returns what MLflow shows as the description: a link to the partition in Dagster; '' without an address."""
    link = context.deployment.partition_link("checkpoint", recipe_name)
    return f"[checkpoint of {recipe_name} in Dagster]({link})" if link else ""


def _image(context: Context) -> dict[str, str]:
    """Returns the tag of the container image; nothing outside a container."""
    return {"image": context.deployment.image} if context.deployment.image else {}


def _tags(registry: "Registry", plan: Plan, outcome: "Outcome") -> dict[str, str]:
    from cellassets.registry.lineage import TrainedOn, declaration, declared, with_ancestors
    from cellassets.training.provenance import code_version
    from cellassets.training.recipe import NetworkRecipe, recipe_fingerprint, trained_experiments

    chosen: Recipe = plan.settings["recipe"]
    tags: dict[str, Any] = {
        "kind": chosen.kind,
        "recipe_name": chosen.name,
        "recipe_fingerprint": recipe_fingerprint(chosen),
        "data_fingerprint": _data_fingerprint(plan),
        "code_version": code_version(),
        **version_tags(plan),
    }
    if isinstance(chosen, NetworkRecipe):
        tags["embedding_dim"] = str(chosen.embedding_dim)
        tags["validation_accuracy"] = f"{outcome.metrics['validation_accuracy']:.4f}"
        trained_on = TrainedOn(
            experiments=trained_experiments(chosen),
            validation_experiments=chosen.validation_experiments,
            perturbations=outcome.perturbations,
        )
        if chosen.start_from is not None:  # what the parent has seen stays known if it is deleted
            known = {entry.key: declared(entry) for entry in registry.list_models()}
            trained_on = with_ancestors("", trained_on.model_copy(update={"parents": (chosen.start_from,)}), known)
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
    lost=lost,
    settle=settle,
    settings=("recipes/<recipe>.yaml",),
)
