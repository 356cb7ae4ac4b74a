"""The landing zone: its experiments, whether they are marked complete, whether they changed, and what is ignored.

A sensor calls this every few seconds, so it reads names, sizes and times, never an image, and of folders that have a
marker only those that changed (`landing_readings`). The content of images is the subject of
`cellassets.screens.manifest`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import starmap

from upath import UPath

from cellassets.configuration import Parameters
from cellassets.fingerprint import KEY_PATTERN, fingerprint
from cellassets.screens.landing_files import Entry, Stamp, list_entries, stamp
from cellassets.screens.landing_readings import Readings
from cellassets.storage.artifact import is_local
from cellassets.storage.objects import in_parallel

N_REQUESTS_AT_ONCE = 16
MARKER = "_COMPLETE"
METADATA = "metadata.csv"
EXPERIMENT_FILE = "experiment.yaml"
PLATE_MAP = "plate_map.csv"
CHECK_AGAIN = (
    "a folder that was corrected is checked again by itself (landing.recheck_minutes and landing.quiet_minutes in "
    f"policy.yaml say when), or at once when {MARKER} is written again"
)
REASONS = {
    "file": "it is a file; expected one folder per experiment",
    "broken_link": "it is a symbolic link to something that does not exist; remove it or restore its target",
    "loop": "it is a symbolic link to a folder that contains it; remove it",
    "outside": "it is a symbolic link that leaves the experiment's folder; copy what it leads to, or link the folder",
    "special": "it is a pipe, a socket or a device; remove it",
    "unreadable_name": "its name is not UTF-8; rename it",
}
DOUBLED_NAME = (
    "its name and that of {} differ in letter case alone: they would be one folder on Windows or macOS, and one "
    "experiment for people; rename one of them"
)
BAD_NAME = (
    "the name cannot be a partition key: rename the folder, with letters, digits, '_', '-' and single '.' only and a "
    "letter or digit first"
)
NO_METADATA = (
    f"it has no {METADATA}, no {PLATE_MAP}, no {EXPERIMENT_FILE} and no {MARKER}, and there is no {METADATA} beside "
    "it; add one of them"
)
SHARED = (METADATA, EXPERIMENT_FILE, PLATE_MAP)  # files beside the experiments that hold for all of them


class LandedExperiment(Parameters):
    """One experiment's folder in the landing zone.

    `signature` changes when the folder does: it covers name, size and time of every file in it, and of the metadata and
    `experiment.yaml` beside it. Its first part, `vouched_for`, covers the marker, the metadata and `experiment.yaml`
    alone: whoever writes one of them again says that the rest is complete.
    """

    experiment_id: str
    is_marked_complete: bool
    signature: str

    @property
    def vouched_for(self) -> str:
        """The part of the signature that covers the marker, the metadata and `experiment.yaml`."""
        return vouched_part(self.signature)


class IgnoredEntry(Parameters):
    """An entry of the landing zone that is ignored, and the reason for people."""

    name: str
    reason: str


@dataclass(frozen=True)
class LandingZone:
    """The content of a landing zone: experiments and ignored entries, both sorted by name."""

    experiments: list[LandedExperiment]
    ignored: list[IgnoredEntry]


def vouched_part(signature: str) -> str:
    """Returns the part of a signature that covers the marker, the metadata and `experiment.yaml`."""
    return signature.partition("-")[0]


def scan_landing(landing: UPath, readings: Readings | None = None) -> LandingZone:
    """Returns what is in a landing zone; nothing where the folder does not exist yet.

    Every entry is either an experiment or ignored with a reason, except the files that
    experiments share and names that begin with a dot.
    Ignored are: files, folders whose names cannot be partition keys, symbolic links that are broken or lead to a folder
    above, folders that cannot be read, and folders with neither metadata, `experiment.yaml`
    nor marker (as while they are being copied).
    A folder with a marker and no metadata is an experiment: taking it in fails with a message that names the file.

    Args:
        landing: its folder or URL.
        readings: what earlier scans have read of marked folders; by default everything is read.
    """
    listed, readings = list_entries(landing), readings or Readings()
    shared, zone = _shared(landing, listed), LandingZone([], [])
    entries = [entry for entry in listed if entry.name not in SHARED or entry.kind != "file"]
    each = [(landing, entry, shared, readings) for entry in entries]
    is_disk = is_local(landing)
    for found in starmap(_look_at, each) if is_disk else in_parallel(_look_at, each, n_threads=N_REQUESTS_AT_ONCE):
        if isinstance(found, IgnoredEntry):
            zone.ignored.append(found)
        else:
            zone.experiments.append(found)
    readings.keep({landed.experiment_id for landed in zone.experiments})
    return zone


def look_at(landing: UPath, experiment_id: str, readings: Readings | None = None) -> LandedExperiment | None:
    """Returns one experiment after reading all of its folder, None if a scan would not find it.

    Args:
        landing: folder or URL of the landing zone.
        experiment_id: name of the experiment's folder.
        readings: receives what was read.
    """
    listed = list_entries(landing)
    entry = next((entry for entry in listed if entry.name == experiment_id), None)
    if entry is None:
        return None
    readings = readings or Readings()
    readings.forget(experiment_id)
    found = _look_at(landing, entry, _shared(landing, listed), readings)
    return found if isinstance(found, LandedExperiment) else None


def signature_of(landing: UPath, experiment_id: str) -> str:
    """Returns the present signature of one experiment's folder, all of which is read.

    Raises:
        FileNotFoundError: the landing zone has no such folder.
    """
    experiment, _ = _describe(landing, experiment_id, _shared(landing, list_entries(landing)), Readings())
    return experiment.signature


def doubled_names(names: Iterable[str], is_kept: Callable[[str], bool]) -> dict[str, str]:
    """Returns each experiment that is ignored because another one has its name in other letter case, and the other one.

    Of such names those stay that `is_kept` is true for, because they are published; without one the first in order.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        alike[name.casefold()].append(name)
    doubled: dict[str, str] = {}
    for group in alike.values():
        if len(group) > 1:
            kept = [name for name in group if is_kept(name)] or group[:1]
            doubled |= {name: kept[0] for name in group if name not in kept}
    return doubled


def _look_at(
    landing: UPath, entry: Entry, shared: dict[str, Stamp], readings: Readings
) -> LandedExperiment | IgnoredEntry:
    if entry.kind != "folder":
        return IgnoredEntry(name=entry.name, reason=REASONS[entry.kind])
    if KEY_PATTERN.fullmatch(entry.name) is None or ".." in entry.name:
        return IgnoredEntry(name=entry.name, reason=BAD_NAME)
    try:
        experiment, has_metadata = _describe(landing, entry.name, shared, readings)
    except ConnectionError:  # of an object store; says nothing about the folder
        raise
    except OSError as error:
        return IgnoredEntry(name=entry.name, reason=f"it cannot be read ({error}); correct its permissions")
    if experiment.is_marked_complete or has_metadata:
        return experiment
    return IgnoredEntry(name=entry.name, reason=NO_METADATA)


def _shared(landing: UPath, entries: list[Entry]) -> dict[str, Stamp]:
    """Returns the stamps of the files that several experiments share, by name, from the entries of the landing zone."""
    files = (entry for entry in entries if entry.name in SHARED and entry.kind == "file")
    found = {entry.name: entry.stamp or stamp(landing, entry.name) for entry in files}
    return {name: each for name, each in found.items() if each is not None}


def _describe(
    landing: UPath, experiment_id: str, shared: dict[str, Stamp], readings: Readings
) -> tuple[LandedExperiment, bool]:
    """Returns one experiment, and whether it has metadata of its own or shares those of the landing zone."""
    marker = stamp(landing, f"{experiment_id}/{MARKER}")
    own = [stamp(landing, f"{experiment_id}/{name}") for name in SHARED]
    folders = readings.digests(landing, experiment_id, None if marker is None else [marker, *own])
    vouched = [each for each in [marker, *own, *shared.values()] if each is not None]
    experiment = LandedExperiment(
        experiment_id=experiment_id,
        is_marked_complete=marker is not None,
        signature=f"{fingerprint({'files': sorted(vouched)})}-{fingerprint({'folders': folders})}",
    )
    return experiment, any(own) or METADATA in shared or PLATE_MAP in shared
