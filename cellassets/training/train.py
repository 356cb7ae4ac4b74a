"""Trains the network of a recipe on opened stores, and writes it as a model folder.

Input: `data.py`. Output: `Outcome`. The lake, MLflow and Dagster are not known here.
"""

import math
from pathlib import Path

from cellassets.progress import Progress, no_progress
from cellassets.training.attempts import Attempt
from cellassets.training.augmentation import crop_size
from cellassets.training.backbone import build_network, seeded
from cellassets.training.checkpoint import save_model_folder
from cellassets.training.data import TrainingData, image_reader
from cellassets.training.estimate import MIN_STEPS, estimated_seconds
from cellassets.training.fit import Batches, fit
from cellassets.training.losses import Heads
from cellassets.training.module import OnEpoch, PerturbationClassifier
from cellassets.training.outcome import RECIPE_NAME, Outcome, write_recipe
from cellassets.training.recipe import NetworkRecipe, recipe_fingerprint
from cellassets.training.reports import TrainingReports
from cellassets.training.spec import SPEC_NAME, WEIGHTS_NAME, NetworkSpec, Preprocessing


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
        RecipeError: the crops of the recipe do not fit the sites.
        TrainingError: the loss is not finite.
        StaleArtifact: another process took over.
    """
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
    reports = TrainingReports(recipe, n_steps=n_steps, progress=progress)

    def report_epoch(epoch: int, metrics: dict[str, float]) -> None:
        attempt.require_newest()  # before anybody is told about the epoch
        if on_epoch is not None:
            on_epoch(epoch, metrics)
        reports.epoch(epoch, metrics)

    module = PerturbationClassifier(network, heads, recipe=recipe, n_steps=n_steps, on_epoch=report_epoch)
    module.on_step = reports.step
    readers = (image_reader(data.stores, data.split.train), image_reader(data.stores, data.split.validation))
    batches = Batches(data.split, readers, recipe, module.pace)
    if n_steps >= MIN_STEPS:
        reports.expect(estimated_seconds(module, batches.train_dataloader(), batches.val_dataloader()))
    fit(module, batches, recipe=recipe, attempt=attempt)
    model_folder = save_model_folder(folder / "model", module.network, spec)
    write_recipe(recipe, model_folder)
    n_weights = sum(weight.numel() for weight in module.network.parameters())
    counts = {**data.split.summary, "n_weights": n_weights}
    names = (SPEC_NAME, WEIGHTS_NAME, RECIPE_NAME)
    return Outcome(
        model_folder,
        names,
        module.metrics,
        counts,
        perturbations=data.perturbations,
        history=tuple(module.history),
    )


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
