"""Trains the network of a recipe on opened stores, and writes it as a model folder.

Input: `data.py`. Output: `Outcome`. The lake, MLflow and Dagster are not known here.
"""

import math
from pathlib import Path

from cellassets.errors import RecipeError
from cellassets.progress import Progress, no_progress
from cellassets.training.attempts import Attempt
from cellassets.training.augmentation import crop_size
from cellassets.training.backbone import EmbeddingNetwork, build_network, seeded
from cellassets.training.checkpoint import save_model_folder
from cellassets.training.data import TrainingData, image_reader
from cellassets.training.estimate import MIN_BATCHES, estimated_seconds
from cellassets.training.fit import Batches, fit
from cellassets.training.losses import Heads
from cellassets.training.module import OnEpoch, PerturbationClassifier
from cellassets.training.outcome import RECIPE_NAME, Outcome, write_recipe
from cellassets.training.recipe import NetworkRecipe, ZooBackbone, compares_pairs, recipe_fingerprint
from cellassets.training.reports import TrainingReports
from cellassets.training.sampling import order_of
from cellassets.training.spec import SPEC_NAME, WEIGHTS_NAME, NetworkSpec, Preprocessing
from cellassets.training.start import continue_from, freeze, load_backbone_weights
from cellassets.training.zoo import check_zoo_sizes


def train_network(
    recipe: NetworkRecipe,
    data: TrainingData,
    *,
    folder: Path,
    attempt: Attempt,
    on_epoch: OnEpoch | None = None,
    progress: Progress = no_progress,
) -> Outcome:
    """Returns the trained network as a model folder, `folder / "model"`, with the metrics of the last epoch.

    Args:
        recipe: how to train.
        data: sites to train on and held-out sites.
        folder: local work folder, for the model folder.
        attempt: stores the state after every epoch; the training continues from the last state of earlier attempts.
        on_epoch: called at the end of every epoch with its index, counted from 0, and its metrics.
        progress: receives the number of batches trained, at least every few seconds and after every epoch.

    Raises:
        RecipeError: the recipe does not fit the sites, or the weights to start from do not fit the network.
        TrainingError: the loss is not finite.
        StaleArtifact: another process took over.
    """
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
    with seeded(recipe.seed):
        heads = Heads(recipe.loss, embedding_dim=recipe.embedding_dim, n_classes=len(data.split.class_names))
    n_batches = order_of(recipe).n_batches(data.split.train, recipe.batch_size)
    n_steps = recipe.n_epochs * math.ceil(n_batches / recipe.optimiser.n_batches_per_step)
    reports = TrainingReports(recipe, n_steps=recipe.n_epochs * n_batches, progress=progress)

    def report_epoch(epoch: int, metrics: dict[str, float]) -> None:
        attempt.require_newest()  # before anybody is told about the epoch
        if on_epoch is not None:
            on_epoch(epoch, metrics)
        reports.epoch(epoch, metrics)

    module = PerturbationClassifier(network, heads, recipe=recipe, n_steps=n_steps, on_epoch=report_epoch)
    module.on_step = reports.step
    readers = (image_reader(data.stores, data.split.train), image_reader(data.stores, data.split.validation))
    batches = Batches(data.split, readers, recipe, module.pace)
    if reports.n_steps >= MIN_BATCHES:
        reports.expect(estimated_seconds(module, batches.train_dataloader(), batches.val_dataloader()))
    fit(module, batches, recipe=recipe, attempt=attempt)
    model_folder = save_model_folder(folder / "model", module.judged[0], spec)
    write_recipe(recipe, model_folder)
    n_weights = sum(weight.numel() for weight in module.network.parameters())
    counts = {**data.split.summary, "n_weights": n_weights}
    if recipe.early_stopping is not None:
        counts["n_epochs"] = int(module.metrics["n_epochs"])
    names = (SPEC_NAME, WEIGHTS_NAME, RECIPE_NAME)
    return Outcome(
        model_folder,
        names,
        module.metrics,
        counts,
        perturbations=data.perturbations,
        history=tuple(module.history),
    )


def _start(network: EmbeddingNetwork, spec: NetworkSpec, recipe: NetworkRecipe, data: TrainingData) -> None:
    """Checks that a network takes the images, loads the weights to start from, and freezes those that stay."""
    if isinstance(recipe.backbone, ZooBackbone):
        height, width = data.site_px
        centre = recipe.centre_crop_px
        sizes = {crop_size(recipe.augmentation, height, width), (centre or height, centre or width)}
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
            arithmetic=recipe.arithmetic,
        ),
        recipe_name=recipe.name,
        recipe_fingerprint=recipe_fingerprint(recipe),
    )
