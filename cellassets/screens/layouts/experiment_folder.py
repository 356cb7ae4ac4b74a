"""Says whether a folder is that of one experiment, before `screen init` writes into it.

What is written into the landing zone itself would hold for all experiments. So a landing zone is refused here, by what
its folders hold and how they are named.
"""

from collections import defaultdict
from collections.abc import Mapping

from upath import UPath

from cellassets.errors import LayoutError
from cellassets.fingerprint import KEY_PATTERN
from cellassets.screens.landing import BAD_NAME, EXPERIMENT_FILE, MARKER, METADATA
from cellassets.screens.landing_files import list_entries
from cellassets.screens.layouts.name_marks import OTHER_FOLDER, PLATE_FOLDER, WELL_FOLDER, cut_path, shape_of

SIGNS = (MARKER, METADATA, EXPERIMENT_FILE)  # that a folder is an experiment


def expect_experiment(landing: UPath, experiment_id: str) -> None:
    """Refuses a folder that is not that of one experiment.

    Raises:
        LayoutError: its name cannot be a partition key, or it holds several experiments.
    """
    folder = landing / experiment_id
    if KEY_PATTERN.fullmatch(experiment_id) is None or ".." in experiment_id:
        message = f"{folder}: {BAD_NAME}"
        raise LayoutError(message)
    names = [entry.name for entry in list_entries(folder) if entry.kind == "folder"]
    inside = {name: {entry.name: entry.kind for entry in list_entries(folder / name)} for name in names}
    marked = [(name, sign) for name, held in inside.items() for sign in SIGNS if sign in held]
    if marked:
        name, sign = marked[0]
        message = (
            f"{folder}: this is a landing zone, not an experiment: {name} in it has {sign}. Name the folder of one "
            f"experiment, such as {folder / name}"
        )
        raise LayoutError(message)
    below = {name: {each for each, kind in held.items() if kind == "folder"} for name, held in inside.items()}
    if _are_experiments(folder, below):
        shown = ", ".join(sorted(below)[:3])
        message = (
            f"{folder}: this looks like a landing zone, not an experiment: its folders ({shown}) have folders of "
            f"plates in them, each other ones. Name the folder of one experiment, such as {folder / min(below)}. "
            f"If it is one experiment, write {EXPERIMENT_FILE} yourself"
        )
        raise LayoutError(message)


def _are_experiments(folder: UPath, below: Mapping[str, set[str]]) -> bool:
    """Returns true if the folders, by what folders they hold, are experiments with plates, not plates.

    Folders in plates are wells, channels, planes and the like, and have the same names in every plate.
    """
    inner = {name for names in below.values() for name in names}
    if not inner or any(PLATE_FOLDER.search(name) for name in below):
        return False
    if all(PLATE_FOLDER.search(name) for name in inner):
        return sum(map(bool, below.values())) > 1
    if any(OTHER_FOLDER.fullmatch(name) for name in inner) or _are_wells(folder, below):
        return False
    holders: dict[str, int] = defaultdict(int)
    for names in below.values():
        for name in names:
            holders[name] += 1
    several = [names for names in below.values() if names]
    return len(several) > 1 and max(map(len, several)) > 1 and max(holders.values()) == 1


def _are_wells(folder: UPath, below: Mapping[str, set[str]]) -> bool:
    """Returns true if inner folders are called like wells, as P1 is, and files in them have no well in their names."""
    outer, inner = next((name, min(names)) for name, names in sorted(below.items()) if names)
    if WELL_FOLDER.fullmatch(inner) is None:
        return False
    files = [entry.name for entry in list_entries(folder / outer / inner) if entry.kind == "file"]
    return not any({"well", "row"} & set(shape_of(cut_path(f"plate/{name}"))) for name in files)
