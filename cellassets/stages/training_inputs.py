"""What the training of a recipe reads from a deployment, and whether it fits the recipe.

The stage `checkpoint` plans from it. `cellassets recipe check --home` compares a recipe with it before the training, by
the functions that refuse then. No image is read.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cellassets.errors import LayoutError, RecipeError, RegistryError
from cellassets.stages.snapshot import NotReady, Snapshot
from cellassets.storage.plan import Publication

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cellassets.registry import ModelEntry
    from cellassets.training.recipe import NetworkRecipe, Recipe


def training_inputs(snapshot: Snapshot, recipe: "Recipe") -> list[Publication]:
    """Returns the publications that a training reads: stores, and quality tables if flagged sites are left out.

    Raises:
        NotReady: some are not published; of experiments that did not land, the message has similar names.
    """
    from cellassets.training.recipe import NetworkRecipe, recipe_experiments

    experiments = recipe_experiments(recipe)
    addresses = [(name,) for name in experiments]
    try:
        pins = snapshot.need_all("plate_store", addresses)
    except NotReady as error:
        unknown = not_landed(snapshot, experiments)
        if not unknown:
            raise
        message = f"{error} ({'; '.join(unknown)})"
        raise NotReady(message, error.addresses) from error
    if isinstance(recipe, NetworkRecipe) and not recipe.uses_flagged_sites:
        pins = [*pins, *snapshot.need_all("plate_quality", addresses)]
    return pins


def not_landed(snapshot: Snapshot, experiments: "Sequence[str]") -> tuple[str, ...]:
    """Returns a line for each experiment that did not land, with similar names; none if nothing has landed yet."""
    from cellassets.stages.declaring import nearest

    landed = snapshot.keys("raw_plates")
    if not landed:
        return ()
    missing = [name for name in experiments if name not in landed and not _is_in_landing_zone(snapshot, name)]
    return tuple(f"{name} did not land here; {nearest(name, landed)}" for name in missing)


def check_fit(snapshot: Snapshot, recipe: "Recipe", *, source: str) -> str:
    """Returns what the training of a recipe still waits for; '' if everything that it reads is there.

    Args:
        snapshot: the deployment.
        recipe: the recipe, which need not be among the deployment's settings.
        source: its file, for messages.

    Raises:
        RecipeError: an experiment did not land, the version to start from is not registered, or what is stored does
            not fit the recipe.
        CorruptArtifact: a stored table differs from its checksum.
    """
    from cellassets.training.recipe import NetworkRecipe, recipe_experiments

    if not isinstance(recipe, NetworkRecipe):
        return ""
    unknown, waits_for, channels = not_landed(snapshot, recipe_experiments(recipe)), "", recipe.channels
    problems = [f"{'; '.join(unknown)}. Correct the names, or land these experiments first"] if unknown else []
    try:
        waits_for, channels = _compare(snapshot, recipe)
    except RecipeError as error:
        problems.append(str(error))
    try:
        _check_start(snapshot, recipe, channels)
    except RegistryError as error:
        problems.append(f"start_from: {error}")
    except RecipeError as error:
        problems.append(str(error))
    if problems:
        message = "\n".join(f"{source}: {problem}" for problem in problems)
        raise RecipeError(message)
    return waits_for


def require_network(entry: "ModelEntry") -> None:
    """Checks that a recipe can start from a registered version.

    Raises:
        RecipeError: it is not a network.
    """
    if entry.kind != "network":
        message = f"start_from: {entry.key} is a model of kind {entry.kind}; expected a network"
        raise RecipeError(message)


def _check_start(snapshot: Snapshot, recipe: "NetworkRecipe", channels: "tuple[str, ...] | None") -> None:
    """Compares a recipe with the network that it starts from, and its frozen weights; `channels` if they are known."""
    from cellassets.registry import Registry
    from cellassets.training.start import check_start

    with tempfile.TemporaryDirectory() as scratch:
        parent = None
        if recipe.start_from is not None:
            require_network(snapshot.model(recipe.start_from))
            deployment = snapshot.deployment
            parent = Registry(deployment.tracking_uri, deployment.model_root).fetch(recipe.start_from, Path(scratch))
        if parent is not None or recipe.frozen:
            check_start(recipe, channels, parent)


def _compare(snapshot: Snapshot, recipe: "NetworkRecipe") -> "tuple[str, tuple[str, ...] | None]":
    """What a network's recipe waits for, after comparing it with what is stored; and the channels that it takes."""
    from cellassets.stages.stores import open_store, training_sources
    from cellassets.training.data import check_stores, open_sources
    from cellassets.training.recipe import recipe_experiments

    lake = snapshot.deployment.lake
    try:
        pins = training_inputs(snapshot, recipe)
    except NotReady as error:
        found = (snapshot.find("plate_store", name) for name in recipe_experiments(recipe))
        stores = [open_store(lake, publication) for publication in found if publication is not None]
        if stores:
            check_stores(recipe, [store.experiment_id for store in stores], stores)
        return str(error), recipe.channels or (stores[0].channel_names if stores else None)
    return "", open_sources(recipe, training_sources(lake, pins)).channel_names


def _is_in_landing_zone(snapshot: Snapshot, experiment_id: str) -> bool:
    try:
        snapshot.landed_experiment(experiment_id)
    except LayoutError:
        return False
    return True
