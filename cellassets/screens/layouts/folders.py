"""Finds files in a landing folder: all of them, those that match a pattern, and tables inside it or beside it.

Names of the system, links that lead out of the folder, pipes and the like are never opened.
"""

import fnmatch
from collections.abc import Callable, Iterator, Sequence

from upath import UPath

from cellassets.screens.landing import REASONS
from cellassets.screens.landing_files import list_entries
from cellassets.storage.paths import resolve_below

BESIDE = "../"  # begins the path of a file in the landing zone itself, which several experiments share
MAX_DEPTH = 12


def resolve_landed(folder: UPath, relative: str) -> UPath:
    """Returns the path of a file of an experiment, or of one that is beside the experiments.

    Raises:
        PartitionKeyError: the path leads out of the landing zone.
    """
    if relative.startswith(BESIDE):
        return resolve_below(folder.parent, relative.removeprefix(BESIDE))
    return resolve_below(folder, relative)


def walk_files(
    folder: UPath, others: list[tuple[str, str]], *, is_wanted: Callable[[str], bool] = lambda _: True, prefix: str = ""
) -> Iterator[str]:
    """Yields the paths of all files below a folder, relative to it and sorted within each folder.

    Args:
        folder: the experiment's folder.
        others: receives path and reason of what is not a file or folder.
        is_wanted: whether a folder is entered; those that are not entered are yielded with a '/' at their end.
        prefix: the folder below it to begin with, with a '/' at its end.
    """
    for entry in list_entries(folder / prefix if prefix else folder, within=folder):
        path = prefix + entry.name
        if entry.kind == "file":
            yield path
        elif entry.kind != "folder":
            others.append((path, REASONS[entry.kind]))
        elif path.count("/") < MAX_DEPTH and is_wanted(path):
            yield from walk_files(folder, others, is_wanted=is_wanted, prefix=f"{path}/")
        else:
            yield f"{path}/"


def find_paths(folder: UPath, pattern: str) -> Iterator[str]:
    """Yields the files and folders below a folder that match a pattern with `*` within names, in order."""
    yield from _find(folder, pattern.split("/"), "")


def _find(folder: UPath, parts: Sequence[str], prefix: str) -> Iterator[str]:
    is_last = len(parts) == 1
    if "*" not in parts[0] and not is_last:
        yield from _find(folder, parts[1:], f"{prefix}{parts[0]}/")
        return
    for entry in list_entries(folder / prefix if prefix else folder, within=folder):
        if not fnmatch.fnmatchcase(entry.name, parts[0]) or entry.kind not in ("file", "folder"):
            continue
        if is_last:
            yield prefix + entry.name
        elif entry.kind == "folder":
            yield from _find(folder, parts[1:], f"{prefix}{entry.name}/")


def find_tables(landing: UPath, experiment_id: str, names: Sequence[str]) -> list[str]:
    """Returns the paths of a table relative to the experiment's folder: from the folder, or else from beside it.

    Args:
        landing: the landing zone.
        experiment_id: name of the experiment's folder.
        names: names of the table, with `*` where it is several files; the first one that exists counts.
    """
    for name in names:
        for root, prefix in ((landing / experiment_id, ""), (landing, BESIDE)):
            found = list(find_paths(root, name)) if "*" in name else _existing(root, name)
            if found:
                return [prefix + path for path in found]
    return []


def _existing(root: UPath, name: str) -> list[str]:
    return [name] if resolve_below(root, name).exists() else []
