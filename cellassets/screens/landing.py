"""The landing zone: its experiments, whether they are marked complete, whether they changed, and what is ignored.

A sensor calls this every few seconds, so it reads names, sizes and times, never an image. The content of images is the
subject of `cellassets.screens.manifest`.
"""

from dataclasses import dataclass

from upath import UPath

from cellassets.configuration import Parameters
from cellassets.fingerprint import KEY_PATTERN, fingerprint
from cellassets.screens.landing_files import Entry, Stamp, list_entries, stamp, stamp_folder
from cellassets.storage.artifact import is_local
from cellassets.storage.objects import in_parallel

N_REQUESTS_AT_ONCE = 16
MARKER = "_COMPLETE"
METADATA = "metadata.csv"
EXPERIMENT_FILE = "experiment.yaml"
CHECK_AGAIN = f"renew the marker of its experiment (write {MARKER} again), which has every image checked again"
REASONS = {
    "file": "it is a file; expected one folder per experiment",
    "broken_link": "it is a symbolic link to something that does not exist; remove it or restore its target",
    "loop": "it is a symbolic link to a folder that contains it; remove it",
    "outside": "it is a symbolic link that leaves the experiment's folder; copy what it leads to, or link the folder",
    "special": "it is a pipe, a socket or a device; remove it",
    "unreadable_name": "its name is not UTF-8; rename it",
}
BAD_NAME = (
    "the name cannot be a partition key: rename the folder, with letters, digits, '_', '-' and single '.' only and a "
    "letter or digit first"
)
NO_METADATA = (
    f"it has no {METADATA}, no {EXPERIMENT_FILE} and no {MARKER}, and there is no {METADATA} beside it; add one of them"
)
SHARED = (METADATA, EXPERIMENT_FILE)  # files beside the experiments that hold for all of them


class LandedExperiment(Parameters):
    """One experiment's folder in the landing zone.

    `signature` changes when the folder does. With a marker it covers the marker and the metadata: the marker is the
    promise that the rest is complete. Without a marker it covers name, size and time of every file.
    """

    experiment_id: str
    is_marked_complete: bool
    signature: str


class IgnoredEntry(Parameters):
    """An entry of the landing zone that is ignored, and the reason for people."""

    name: str
    reason: str


@dataclass(frozen=True)
class LandingZone:
    """The content of a landing zone: experiments and ignored entries, both sorted by name."""

    experiments: list[LandedExperiment]
    ignored: list[IgnoredEntry]


def scan_landing(landing: UPath) -> LandingZone:
    """Returns what is in a landing zone; nothing where the folder does not exist yet.

    Every entry is either an experiment or ignored with a reason, except the files that
    experiments share and names that begin with a dot.
    Ignored are: files, folders whose names cannot be partition keys, symbolic links that are broken or lead to a folder
    above, folders that cannot be read, and folders with neither metadata, `experiment.yaml`
    nor marker (as while they are being copied).
    A folder with a marker and no metadata is an experiment: taking it in fails with a message that names the file.
    """
    shared = _shared(landing)
    zone = LandingZone([], [])
    entries = [entry for entry in list_entries(landing) if entry.name not in SHARED or entry.kind != "file"]
    n_threads = 1 if is_local(landing) else N_REQUESTS_AT_ONCE
    for found in in_parallel(_look_at, [(landing, entry, shared) for entry in entries], n_threads=n_threads):
        if isinstance(found, IgnoredEntry):
            zone.ignored.append(found)
        else:
            zone.experiments.append(found)
    return zone


def signature_of(landing: UPath, experiment_id: str) -> str:
    """Returns the present signature of one experiment's folder.

    Raises:
        FileNotFoundError: the landing zone has no such folder.
    """
    experiment, _ = _describe(landing, experiment_id, _shared(landing))
    return experiment.signature


def _look_at(landing: UPath, entry: Entry, shared: dict[str, Stamp]) -> LandedExperiment | IgnoredEntry:
    if entry.kind != "folder":
        return IgnoredEntry(name=entry.name, reason=REASONS[entry.kind])
    if KEY_PATTERN.fullmatch(entry.name) is None or ".." in entry.name:
        return IgnoredEntry(name=entry.name, reason=BAD_NAME)
    try:
        experiment, has_metadata = _describe(landing, entry.name, shared)
    except ConnectionError:  # of an object store; says nothing about the folder
        raise
    except OSError as error:
        return IgnoredEntry(name=entry.name, reason=f"it cannot be read ({error}); correct its permissions")
    if experiment.is_marked_complete or has_metadata:
        return experiment
    return IgnoredEntry(name=entry.name, reason=NO_METADATA)


def _shared(landing: UPath) -> dict[str, Stamp]:
    """Returns the stamps of the files that several experiments share, by name."""
    found = {name: stamp(landing, name) for name in SHARED}
    return {name: each for name, each in found.items() if each is not None}


def _describe(landing: UPath, experiment_id: str, shared: dict[str, Stamp]) -> tuple[LandedExperiment, bool]:
    """Returns one experiment, and whether it has metadata of its own or shares those of the landing zone."""
    marker = stamp(landing, f"{experiment_id}/{MARKER}")
    own = [stamp(landing, f"{experiment_id}/{name}") for name in SHARED]
    found = stamp_folder(landing, experiment_id) if marker is None else [marker, *own]
    stamps = [each for each in [*found, *shared.values()] if each is not None]
    experiment = LandedExperiment(
        experiment_id=experiment_id,
        is_marked_complete=marker is not None,
        signature=fingerprint({"files": sorted(stamps)}),
    )
    return experiment, any(own) or METADATA in shared
