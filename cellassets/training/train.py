"""Trains the network of a recipe on opened stores, and writes it as a model folder.

Input: `data.py`. Output: `Outcome`. The lake, MLflow and Dagster are not known here.
"""

import math
from functools import partial
from pathlib import Path

from cellassets.errors import RecipeError
from cellassets.progress import Progress, no_progress
from cellassets.training.attempts import Attempt
from cellassets.training.augmentation import crop_size
from cellassets.training.backbone import EmbeddingNetwork, build_network
from cellassets.training.checkpoint import save_model_folder
from cellassets.training.classifier import Classifier, save_classifier
from cellassets.training.data import TrainingData, image_reader
from cellassets.training.estimate import MIN_BATCHES, estimated_seconds
from cellassets.training.fit import fit
from cellassets.training.losses import Heads
from cellassets.training.module import OnEpoch, PerturbationClassifier
from cellassets.training.objectives import batches_of, build_module
from cellassets.training.outcome import RECIPE_NAME, Outcome, write_recipe
from cellassets.training.packing import unpack
from cellassets.training.poor_variant import PoorVariant
from cellassets.training.recipe import (
    NetworkRecipe,
    SelfDistillation,
    ZooBackbone,
    compares_pairs,
    local_crop_px,
    recipe_fingerprint,
)
from cellassets.training.reports import TrainingReports
from cellassets.training.sampling import order_of
from cellassets.training.sharing import WHOLE, Share
from cellassets.training.spec import CLASSIFIER_NAME, SPEC_NAME, WEIGHTS_NAME, NetworkSpec, Preprocessing
from cellassets.training.start import continue_from, freeze, load_backbone_weights
from cellassets.training.zoo import check_zoo_sizes


def train_network(  # noqa: PLR0913  what a training reports to, each of which a caller may leave out
    recipe: NetworkRecipe,
    data: TrainingData,
    *,
    folder: Path,
    attempt: Attempt,
    on_epoch: OnEpoch | None = None,
    progress: Progress = no_progress,
    poor: PoorVariant | None = None,
) -> Outcome:
    """Returns the trained network as a model folder, `folder / "model"`, with the metrics of the last epoch.

    One process trains; `processes.launch` trains in several. A variant of a search that was stopped as poor gives no
    model; its folder holds the recipe only.

    Args:
        recipe: how to train.
        data: sites to train on and held-out sites.
        folder: local work folder, for the model folder.
        attempt: stores the state after every epoch; the training continues from the last state of earlier attempts.
        on_epoch: called at the end of every epoch with its index, counted from 0, and its metrics.
        progress: receives the number of batches trained, at least every few seconds and after every epoch.
        poor: decides at every validation whether a variant of a search goes on.

    Raises:
        RecipeError: the recipe does not fit the sites, or the weights to start from do not fit the network.
        TrainingError: the loss is not finite, or all embeddings became alike.
        StaleArtifact: another process took over.
    """
    module, spec = _prepared(recipe, data)
    _run(module, data, attempt=attempt, on_epoch=on_epoch, progress=progress, poor=poor)
    return _outcome(module, spec, data, folder, poor)


def train_share(
    recipe: NetworkRecipe,
    data: TrainingData,
    *,
    attempt: Attempt,
    share: Share,
    on_epoch: OnEpoch | None = None,
    progress: Progress = no_progress,
) -> None:
    """Trains as one process of several; the arguments are those of `train_network`. The states are the result.

    Raises:
        RecipeError: the recipe does not fit the sites, or there are fewer held-out sites than processes.
        TrainingError: the loss is not finite.
        StaleArtifact: another process took over.
    """
    if data.split.validation.n_sites < share.n:
        message = (
            f"{recipe.name}: {data.split.validation.n_sites} held-out sites for {share.n} processes: expected at least "
            "one per process; lower devices.n_per_node or devices.n_nodes"
        )
        raise RecipeError(message)
    module, _ = _prepared(recipe, data)
    _run(module, data, attempt=attempt, on_epoch=on_epoch, progress=progress, share=share)


def outcome_of_state(recipe: NetworkRecipe, data: TrainingData, *, folder: Path, content: bytes) -> Outcome:
    """Returns the outcome of a training from the state after its last epoch.

    Args:
        recipe: how it was trained.
        data: the sites.
        folder: local work folder, for the model folder.
        content: the state, as `attempts.py` stores it.
    """
    module, spec = _prepared(recipe, data)
    state = unpack(content)
    module.load_state_dict(state["state_dict"])
    module.on_load_checkpoint(state)
    return _outcome(module, spec, data, folder)


def _prepared(recipe: NetworkRecipe, data: TrainingData) -> tuple[PerturbationClassifier, NetworkSpec]:
    """The module with its first weights, and the specification of the network."""
    _check_pairs(recipe, len(data.split.class_names))
    spec = _network_spec(recipe, data)
    network = build_network(
        recipe.backbone,
        n_channels=data.n_channels,
        embedding_dim=recipe.embedding_dim,
        trained_px=spec.trained_px,
        seed=recipe.seed,
    )
    _start(network, spec, recipe, data)
    n_steps = recipe.n_epochs * math.ceil(_n_batches(recipe, data) / recipe.optimiser.n_batches_per_step)
    return build_module(network, recipe, data.split, n_steps=n_steps), spec


def _n_batches(recipe: NetworkRecipe, data: TrainingData) -> int:
    return order_of(recipe).n_batches(data.split.train, recipe.batch_size)


def _run(  # noqa: PLR0913  what a training needs, and who follows it
    module: PerturbationClassifier,
    data: TrainingData,
    *,
    attempt: Attempt,
    on_epoch: OnEpoch | None,
    progress: Progress,
    share: Share = WHOLE,
    poor: PoorVariant | None = None,
) -> None:
    """Trains a module to its last epoch, and reports."""
    recipe = module.recipe
    reports = TrainingReports(recipe, n_steps=recipe.n_epochs * _n_batches(recipe, data), progress=progress)

    def report_epoch(epoch: int, metrics: dict[str, float]) -> None:
        attempt.require_newest()  # before anybody is told about the epoch
        if on_epoch is not None:
            on_epoch(epoch, metrics)
        reports.epoch(epoch, metrics)
        if poor is not None and epoch + 1 < recipe.n_epochs and not module.trainer.should_stop:
            module.trainer.should_stop = poor.ends_after(module.history) is not None

    module.on_epoch, module.on_step = report_epoch, reports.step
    reader_of = partial(image_reader, data.stores, channels=data.channels)
    readers = (reader_of(data.split.train), reader_of(data.split.validation))
    batches = batches_of(module, data.split, readers, share=share)
    if reports.n_steps >= MIN_BATCHES:
        reports.expect(estimated_seconds(module, batches.train_dataloader(), batches.val_dataloader()))
    decided = None if poor is None else poor.decided()  # an earlier process stopped after this epoch
    n_epochs = recipe.n_epochs if decided is None else decided.epoch
    fit(module, batches, recipe=recipe.model_copy(update={"n_epochs": n_epochs}), attempt=attempt)


def _outcome(
    module: PerturbationClassifier,
    spec: NetworkSpec,
    data: TrainingData,
    folder: Path,
    poor: PoorVariant | None = None,
) -> Outcome:
    """The outcome of a trained module, after writing its model folder."""
    recipe, stopped = module.recipe, None if poor is None else poor.decided()
    model_folder, names = folder / "model", [RECIPE_NAME]
    if stopped is None:
        network, heads = module.judged
        save_model_folder(model_folder, network, spec)
        names = [SPEC_NAME, WEIGHTS_NAME, RECIPE_NAME]
        if isinstance(heads, Heads):
            save_classifier(model_folder, Classifier(heads, data.split.class_names))
            names.append(CLASSIFIER_NAME)
    write_recipe(recipe, model_folder)
    n_weights = sum(weight.numel() for weight in module.network.parameters())
    counts = {**data.split.summary, "n_weights": n_weights}
    if recipe.early_stopping is not None:
        counts["n_epochs"] = int(module.metrics["n_epochs"])
    return Outcome(
        model_folder,
        tuple(names),
        module.metrics,
        counts,
        perturbations=data.perturbations,
        history=tuple(module.history),
        stopped=stopped,
        not_compared=() if poor is None else tuple(poor.not_compared),
    )


def _start(network: EmbeddingNetwork, spec: NetworkSpec, recipe: NetworkRecipe, data: TrainingData) -> None:
    """Checks that a network takes the images, loads the weights to start from, and freezes those that stay."""
    if isinstance(recipe.backbone, ZooBackbone):
        height, width = data.site_px
        centre = recipe.centre_crop_px
        crop = crop_size(recipe.augmentation, height, width)
        sizes = {crop, (centre or height, centre or width)}
        if isinstance(recipe.objective, SelfDistillation) and recipe.objective.n_local_crops:
            sizes.add((local_crop_px(recipe, min(crop)),) * 2)
        check_zoo_sizes(network, recipe.backbone, data.n_channels, sizes)
    if recipe.start_from is not None:
        if data.parent is None:
            message = f"start_from: the files of {recipe.start_from} were not given to the training"
            raise RecipeError(message)
        continue_from(network, spec, data.parent, recipe.start_from)
    if recipe.weights is not None:
        load_backbone_weights(network.backbone, recipe.weights, data.n_channels)
    if recipe.frozen:
        freeze(network, recipe.frozen)


def _check_pairs(recipe: NetworkRecipe, n_classes: int) -> None:
    """Refuses losses that compare pairs where batches may hold no two sites of a class."""
    names = [loss.name for loss in recipe.loss.metric_losses if compares_pairs(loss)]
    if names and recipe.n_sites_per_class == 1 and recipe.batch_size < 2 * n_classes:
        message = (
            f"loss.metric_losses: {names[0]} compares sites of one class, and batches of {recipe.batch_size} sites of "
            f"{n_classes} classes hold few pairs: set n_sites_per_class to 2 or more"
        )
        raise RecipeError(message)


def _network_spec(recipe: NetworkRecipe, data: TrainingData) -> NetworkSpec:
    return NetworkSpec(
        n_channels=data.n_channels,
        channel_names=data.channel_names,
        embedding_dim=recipe.embedding_dim,
        backbone=recipe.backbone,
        trained_px=min(crop_size(recipe.augmentation, *data.site_px)),
        preprocessing=Preprocessing(
            normalisation=recipe.normalisation,
            centre_crop_px=recipe.centre_crop_px,
            batch_statistics=recipe.batch_statistics,
            chooses_channels=recipe.channels is not None,
            arithmetic=recipe.arithmetic,
        ),
        recipe_name=recipe.name,
        recipe_fingerprint=recipe_fingerprint(recipe),
    )
