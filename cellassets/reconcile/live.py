"""A snapshot that is kept up to date: after a change only the plans that depend on it are made again.

One object serves all sensors of a process. Every tick calls `refresh`, which asks the catalogue, the registry and the
file system what changed, and then reads plans and states as from any snapshot.
"""

import fnmatch
import os
from collections.abc import Callable, Hashable, Iterator, Mapping
from datetime import datetime, timedelta
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from upath import UPath

from cellassets.errors import CorruptArtifact, LayoutError, RegistryError
from cellassets.incremental import Incremental
from cellassets.reconcile.landing import Landing
from cellassets.reconcile.patience import PatientCall
from cellassets.screens.landing_readings import Readings
from cellassets.screens.summary import RawPlatesSummary
from cellassets.stages.snapshot import Snapshot, not_registered
from cellassets.storage.artifact import is_local
from cellassets.storage.deployment import Deployment
from cellassets.storage.plan import Publication
from cellassets.storage.records import Records, parents_of

if TYPE_CHECKING:
    from cellassets.registry import ModelEntry, Registry
    from cellassets.screens.landing import LandedExperiment
    from cellassets.stages.stage import Stage

T = TypeVar("T")
MODELS, ANNOTATIONS, CONFIGS = ("models",), ("annotations",), ("configs",)
GROWTH = 1.25  # unused nodes are removed when the graph has grown by this factor ...
MIN_GROWTH = 10_000  # ... and this number of nodes
REGISTRY_LIMIT_S = 10.0  # a registry that is busy answers later; the next tick reads the answer
OBJECT_TAGS = ("etag", "generation", "mtime", "updated", "created")  # fields in which object stores report a version


class LiveSnapshot(Snapshot):
    """A deployment at the time of the last `refresh`. Call `refresh` before the first read.

    Hold `lock` from the refresh until the last read.
    """

    def __init__(self, deployment: Deployment, stages: Mapping[str, "Stage"]) -> None:
        super().__init__(deployment, stages, Records(deployment.lake.catalogue))
        self.lock = RLock()
        self.graph = Incremental()
        self.landing = Landing({}, {}, {})
        self._readings = Readings()
        self._models: dict[str, ModelEntry] = {}
        self._registry_problem: RegistryError | None = None
        self._list_models = PatientCall(self._ask_registry, REGISTRY_LIMIT_S)  # a server may hang
        self._stamps: dict[Hashable, dict[str, Any]] = {}
        self._n_nodes = 0  # after the last collection

    def refresh(self) -> int:
        """Returns the number of changes since the last call, after reading them.

        Only `refresh_landing` reads the landing zone. A registry that does not answer does not raise an error here: the
        error appears where the list of models is needed, and plans use the last known models.

        Raises:
            ConfigError: the lake was written by an earlier version of cellassets, or its database is not named.
        """
        # every source reports its changes before the next one is read, which may raise
        n_changed = (
            self._report(self._changed_records())
            + self._report(self._changed_files(CONFIGS, self.deployment.configs, "**/*.yaml"))
            + self._report(self._changed_annotations())
            + self._report(self._changed_models())
        )
        if n_changed and len(self.graph) > self._n_nodes * GROWTH + MIN_GROWTH:
            self.graph.collect()
            self._n_nodes = len(self.graph)
        return n_changed

    def refresh_landing(
        self,
        first_seen: Mapping[str, tuple[str, str]],
        now: datetime,
        quiet: timedelta,
        recheck: timedelta | None = None,
    ) -> None:
        """Reads the landing zone.

        Args:
            first_seen: when each folder was first seen with its present content, as the previous call left it in
                `landing.first_seen`.
            now: the time of this call, with a time zone.
            quiet: a folder without a marker, or with changes behind it, is complete after this long without a change.
            recheck: marked folders that did not change are read again after this time; None: everything is read.
        """
        before, readings = self.landing, None
        if recheck is not None:
            readings = self._readings
            readings.begin(now, recheck)
        self.landing = Landing.scan(
            self.deployment.landing,
            first_seen=first_seen,
            now=now,
            quiet=quiet,
            published=lambda name: self.value(_landing_signature, name),
            readings=readings,
        )
        names = {*before.complete, *self.landing.complete}
        changed = [name for name in names if before.complete.get(name) != self.landing.complete.get(name)]
        if changed:
            self.graph.changed([("landed", name) for name in changed])

    def value(self, function: Callable[..., T], *arguments: Hashable) -> T:
        """Returns `function(self, *arguments)`, computed again only if something that it read has changed."""
        return self.graph.value(function, self, *arguments)

    def find(self, kind: str, *keys: str) -> Publication | None:
        """Returns the current publication at an address, None where there is none."""
        self.graph.read(("record", kind, keys))
        return self.records.find(kind, *keys)

    def keys(self, kind: str, *parents: str) -> tuple[str, ...]:
        """Returns the published keys one level below a kind and its leading keys, sorted."""
        self.graph.read(("keys", kind, parents))
        return self.records.keys(kind, *parents)

    def config(self, *names: str) -> UPath:
        """Returns the path of a settings file, which may not exist."""
        self.graph.read((CONFIGS, "/".join(names)))
        return super().config(*names)

    def config_names(self, folder: str) -> tuple[str, ...]:
        """Returns the stems of the YAML files in a folder of settings, sorted."""
        self.graph.read((CONFIGS, folder))
        known = self._stamps.get(CONFIGS, {})
        return tuple(sorted(name[len(folder) + 1 : -len(".yaml")] for name in known if _folder_of(name) == folder))

    def models(self) -> tuple["ModelEntry", ...]:
        """Returns all registered models, sorted by key.

        Raises:
            RegistryError: the registry does not answer.
        """
        self.graph.read(MODELS)
        if self._registry_problem is not None:
            raise self._registry_problem.with_traceback(None)
        return tuple(self._models.values())

    def model(self, key: str) -> "ModelEntry":
        """Returns a registered model.

        Raises:
            RegistryError: there is none with this key.
        """
        self.graph.read((MODELS, key))
        if key not in self._models:
            raise RegistryError(not_registered(key, self.deployment))
        return self._models[key]

    def landed_experiment(self, experiment_id: str) -> "LandedExperiment":
        """Returns an experiment in the landing zone.

        Raises:
            LayoutError: the landing zone has no such experiment, or it is not complete yet.
        """
        self.graph.read(("landed", experiment_id))
        found = self.landing.complete.get(experiment_id)
        if found is None:
            reasons = {**self.landing.ignored, **self.landing.waiting}
            reason = reasons.get(experiment_id, "no such experiment in the landing zone")
            message = f"{self.deployment.landing / experiment_id}: {reason}"
            raise LayoutError(message)
        return found

    def annotations(self) -> UPath:
        """Returns the folder of annotations."""
        self.graph.read(ANNOTATIONS)
        return super().annotations()

    def _report(self, cells: list[Hashable]) -> int:
        if cells:
            self.graph.changed(cells)
        return len(cells)

    def _changed_records(self) -> list[Hashable]:
        self.deployment.lake.ensure_scanned()
        changed = self.records.refresh()
        listings = {listing for address in changed for listing in parents_of(address)}
        return [*(("record", *address) for address in changed), *(("keys", *listing) for listing in listings)]

    def _changed_annotations(self) -> list[Hashable]:
        return [ANNOTATIONS] if self._changed_files(ANNOTATIONS, self.deployment.lake.annotations, "*") else []

    def _changed_models(self) -> list[Hashable]:
        before, problem = self._models, self._registry_problem
        if self.deployment.tracking_uri.startswith("http"):
            self._registry().client()  # asks nothing; importing MLflow must not count as the server's time
        try:
            found = self._ask_registry() if self.deployment.tracking_uri.startswith("sqlite:") else self._list_models()
        except TimeoutError:
            message = (
                f"the model registry at {self.deployment.tracking_uri} does not answer within {REGISTRY_LIMIT_S:.0f} s"
            )
            return self._note_problem(RegistryError(message))
        except RegistryError as error:
            return self._note_problem(error)
        self._registry_problem, self._models = None, {entry.key: entry for entry in found}
        changed = [key for key in before.keys() | self._models.keys() if before.get(key) != self._models.get(key)]
        return [*((MODELS, key) for key in changed), *([MODELS] if changed or problem is not None else [])]

    def _note_problem(self, error: RegistryError) -> list[Hashable]:
        is_new = str(error) != str(self._registry_problem)
        self._registry_problem = error
        return [MODELS] if is_new else []

    def _ask_registry(self) -> list["ModelEntry"]:
        return self._registry().list_models()

    def _registry(self) -> "Registry":
        from cellassets.registry import Registry

        return Registry(self.deployment.tracking_uri, self.deployment.model_root)

    def _changed_files(self, cell: Hashable, folder: UPath, pattern: str) -> list[Hashable]:
        """Returns the changed files below a folder, and the folders whose listing changed."""
        before = self._stamps.get(cell, {})
        now = _stamps(folder, pattern)
        self._stamps[cell] = now
        changed: list[Hashable] = [(cell, name) for name in {*before, *now} if before.get(name) != now.get(name)]
        listings = {_folder_of(name) for name in before.keys() ^ now.keys()}
        return [*changed, *((cell, name) for name in listings)]


def _landing_signature(snapshot: Snapshot, experiment_id: str) -> str | None:
    """Returns the signature of the folder that the manifest of an experiment was made from."""
    published = snapshot.find("raw_plates", experiment_id)
    try:
        return None if published is None else published.summary(RawPlatesSummary).landing_signature
    except CorruptArtifact:
        return None


def _folder_of(name: str) -> str:
    return name.rpartition("/")[0]


def _stamps(folder: UPath, pattern: str) -> dict[str, Any]:
    """Returns for each file below a folder values that change with its content, by file name."""
    if not is_local(folder):
        folder.fs.invalidate_cache()  # a cached listing would hide what changed since the last call
        found = folder.fs.glob(f"{folder.path}/{pattern}", detail=True)  # one listing, however many files there are
        return {path[len(folder.path) :].lstrip("/"): _object_stamp(info) for path, info in found.items()}
    if not folder.is_dir():
        return {}
    stamps: dict[str, Any] = {}
    for path in _matching(folder, pattern):
        try:
            stamps[path.path[len(folder.path) :].lstrip("/")] = _local_stamp(path)
        except FileNotFoundError:  # removed after the listing
            continue
    return stamps


def _matching(folder: UPath, pattern: str) -> Iterator[UPath]:
    """Yields the local files and folders that match a pattern, which is `*` or `**/` and a pattern of names."""
    is_deep, _, name_pattern = pattern.rpartition("/")
    for place, folders, files in os.walk(folder.path):  # unlike `glob` it skips folders that vanish while it reads them
        yield from (UPath(place, name) for name in fnmatch.filter([*folders, *files], name_pattern))
        if not is_deep:
            return


def _local_stamp(path: UPath) -> tuple[Any, ...]:
    status = path.stat()  # of the target of a link: Kubernetes replaces the target and leaves the link as it is
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _object_stamp(info: Mapping[str, Any]) -> tuple[Any, ...]:
    return info.get("size"), *(str(info.get(name)) for name in OBJECT_TAGS)
