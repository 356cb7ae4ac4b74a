"""The landing zone: which experiments lie there, whether they are marked complete, and whether they changed.

Called at every sensor tick, so it reads names, sizes and times, never an image. What is in the images is
`cellassets.screens.manifest`'s business.
"""

from collections.abc import Iterator
from typing import Any

from upath import UPath

from cellassets.configuration import Parameters
from cellassets.fingerprint import KEY_PATTERN, fingerprint

MARKER = "_COMPLETE"
METADATA = "metadata.csv"


class LandedExperiment(Parameters):
    """One folder in the landing zone.

    `signature` changes when the folder does: it covers marker and metadata where the marker is there (who writes it
    vouches for the rest), every file's name, size and time otherwise.
    """

    experiment_id: str
    is_marked_complete: bool
    signature: str


def find_experiments(landing: UPath) -> list[LandedExperiment]:
    """Returns the experiments in a landing zone, sorted; empty where the folder is not there yet.

    Folders whose names cannot be partition keys are passed over: `ignored_folders` names them.
    """
    names = [name for name in _folder_names(landing) if _is_key(name)]
    return [_describe(landing, name) for name in names]


def ignored_folders(landing: UPath) -> list[str]:
    """Returns the folders that no experiment can be called after, sorted."""
    return [name for name in _folder_names(landing) if not _is_key(name)]


def signature_of(landing: UPath, experiment_id: str) -> str:
    """Returns the signature of one experiment's folder as it is now."""
    return _describe(landing, experiment_id).signature


def _is_key(name: str) -> bool:
    return KEY_PATTERN.fullmatch(name) is not None and ".." not in name


def _folder_names(landing: UPath) -> list[str]:
    if not landing.is_dir():
        return []
    return sorted(child.name for child in landing.iterdir() if child.is_dir() and not child.name.startswith("."))


def _describe(landing: UPath, experiment_id: str) -> LandedExperiment:
    folder = landing / experiment_id
    is_marked = (folder / MARKER).exists()
    paths = [folder / MARKER, folder / METADATA] if is_marked else list(_files(folder))
    stamps = [_stamp(path, landing) for path in [*paths, landing / METADATA] if path.exists()]
    return LandedExperiment(
        experiment_id=experiment_id,
        is_marked_complete=is_marked,
        signature=fingerprint({"files": sorted(stamps)}),
    )


def _files(folder: UPath) -> Iterator[UPath]:
    for child in folder.iterdir():
        if child.is_dir():
            yield from _files(child)
        else:
            yield child


def _stamp(path: UPath, landing: UPath) -> list[Any]:
    """Name, size and a token that changes with the content: the time locally, the tag of the object elsewhere."""
    info = path.fs.info(path.path)
    token = next((str(info[key]) for key in ("etag", "md5Hash", "mtime", "updated", "created") if key in info), "")
    return [str(path)[len(str(landing)) :], int(info.get("size") or 0), token]
