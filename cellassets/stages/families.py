"""Recipes and their families, read through a snapshot: recipe files, and the variants of files with a search.

The variants of a Bayesian search are those that the asset `search` has proposed; its record keeps them. All others are
decided by the file.
"""

from typing import TYPE_CHECKING

from upath import UPath

from cellassets.errors import CellAssetsError, ConfigError
from cellassets.stages.snapshot import Snapshot
from cellassets.training.search_summary import SearchSummary

if TYPE_CHECKING:
    from cellassets.training.recipe import Family, Recipe, Variant

FOLDER = "recipes"


def recipe(snapshot: Snapshot, name: str) -> "Recipe":
    """Returns a recipe: that of `recipes/<name>.yaml`, or a variant of a family.

    Raises:
        ConfigError: there is none with this name, or the file is wrong.
    """
    found = find_variant(snapshot, name)
    return snapshot.value(_recipe, name) if found is None else found.recipe


def find_variant(snapshot: Snapshot, name: str) -> "Variant | None":
    """Returns the variant with a name; None for a recipe with a file of its own, and for an unknown one.

    Raises:
        ConfigError: the file of the family is wrong.
    """
    return snapshot.value(_find_variant, name)


def family(snapshot: Snapshot, name: str) -> "Family":
    """Returns the family in `recipes/<name>.yaml`.

    Raises:
        ConfigError: the file is missing or wrong, or has no search.
    """
    return snapshot.value(_family, name)[0]


def variants_of(snapshot: Snapshot, name: str) -> tuple["Variant", ...]:
    """Returns the variants of a family. Proposals that the file no longer contains are left out.

    Raises:
        ConfigError: the file is wrong, or a variant has the name of another recipe.
    """
    return snapshot.value(_variants_of, name)


def families(snapshot: Snapshot) -> tuple[str, ...]:
    """Returns the names of the recipe files with a search, also of wrong ones."""
    return tuple(name for name in snapshot.config_names(FOLDER) if snapshot.value(_has_search, name))


def wrong_families(snapshot: Snapshot) -> tuple[str, ...]:
    """Returns the families whose variants are not known, because their files are wrong."""
    return tuple(name for name in families(snapshot) if not snapshot.value(_is_right, name))


def recipe_names(snapshot: Snapshot) -> tuple[str, ...]:
    """Returns the names of all recipes: of files with one recipe, and of the variants of all right families."""
    names: dict[str, None] = {}
    searches = set(families(snapshot))
    for name in snapshot.config_names(FOLDER):
        if name not in searches:
            names[name] = None
        elif snapshot.value(_is_right, name):
            names.update(dict.fromkeys(variant.name for variant in variants_of(snapshot, name)))
    return tuple(names)


def _path(snapshot: Snapshot, name: str) -> UPath:
    return snapshot.config(FOLDER, f"{name}.yaml")


def _recipe(snapshot: Snapshot, name: str) -> "Recipe":
    from cellassets.training.recipe import load_recipe

    return load_recipe(_path(snapshot, name))


def _family(snapshot: Snapshot, name: str) -> "tuple[Family, tuple[Variant, ...]]":
    from cellassets.training.recipe import checked_family

    return checked_family(_path(snapshot, name))


def _has_search(snapshot: Snapshot, name: str) -> bool:
    from cellassets.training.recipe.family import has_search

    try:
        return has_search(_path(snapshot, name))
    except CellAssetsError:  # the recipe is listed as waiting with this reason
        return False


def _is_right(snapshot: Snapshot, name: str) -> bool:
    try:
        variants_of(snapshot, name)
    except CellAssetsError:  # the search is listed as waiting with this reason
        return False
    return True


def _variants_of(snapshot: Snapshot, name: str) -> "tuple[Variant, ...]":
    from cellassets.training.recipe import BayesianSearch

    found, variants = snapshot.value(_family, name)
    if isinstance(found.search, BayesianSearch):
        variants = _proposed(snapshot, found)
    files = snapshot.config_names(FOLDER)
    taken = next((variant.name for variant in variants if variant.name in files), None)
    if taken is not None:
        message = f"{found.source}: the variant {taken} has the name of the recipe {taken}.yaml: rename that file"
        raise ConfigError(message)
    return variants


def _proposed(snapshot: Snapshot, found: "Family") -> "tuple[Variant, ...]":
    published = snapshot.find("search", found.name)
    rows = () if published is None else published.summary(SearchSummary).variants
    made = []
    for row in rows:
        try:
            made.append(found.variant(row.values))
        except ConfigError:  # the file was changed: the variant is retired
            continue
    return tuple(made)


def _find_variant(snapshot: Snapshot, name: str) -> "Variant | None":
    files = snapshot.config_names(FOLDER)
    if name in files:
        return None
    wrong: CellAssetsError | None = None
    for stem in sorted(files, key=len, reverse=True):
        if not name.startswith(f"{stem}-") or not snapshot.value(_has_search, stem):
            continue
        try:
            found = {variant.name: variant for variant in variants_of(snapshot, stem)}
        except CellAssetsError as error:  # another family may have a variant of this name
            wrong = error
            continue
        if name in found:
            return found[name]
    if wrong is not None:
        raise wrong
    return None
