"""What the training of a recipe reads from a deployment, and whether it fits the recipe.

The stage `checkpoint` plans from it. `cellassets recipe check --home` compares a recipe with it before the training, by
the functions that refuse then. No image is read.
"""

from typing import TYPE_CHECKING

from cellassets.errors import LayoutError, RecipeError, RegistryError
from cellassets.stages.snapshot import NotReady, Snapshot
from cellassets.storage.plan import Publication

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    unknown, waits_for = not_landed(snapshot, recipe_experiments(recipe)), ""
    problems = [f"{'; '.join(unknown)}. Correct the names, or land these experiments first"] if unknown else []
    try:
        waits_for = _compare(snapshot, recipe)
    except RecipeError as error:
        problems.append(str(error))
    try:
        if recipe.start_from is not None:
            snapshot.model(recipe.start_from)
    except RegistryError as error:
        problems.append(f"start_from: {error}")
    if problems:
        message = "\n".join(f"{source}: {problem}" for problem in problems)
        raise RecipeError(message)
    return waits_for


def _compare(snapshot: Snapshot, recipe: "NetworkRecipe") -> str:
    """What a network's recipe waits for, after comparing it with what is stored."""
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
        return str(error)
    open_sources(recipe, training_sources(lake, pins))
    return ""


def _is_in_landing_zone(snapshot: Snapshot, experiment_id: str) -> bool:
    try:
        snapshot.landed_experiment(experiment_id)
    except LayoutError:
        return False
    return True
