"""A snapshot that is kept up to date: after a change only the plans that depend on it are made again.

One object serves all sensors of a process. Every tick calls `refresh`, which asks the catalogue, the registry and the
file system what changed, and then reads plans and states as from any snapshot.
"""

from collections.abc import Callable, Hashable, Mapping
from datetime import datetime, timedelta
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from upath import UPath

from cellassets.errors import ConfigError, LayoutError
from cellassets.incremental import Incremental
from cellassets.reconcile.landing import Landing
from cellassets.stages.snapshot import Snapshot
from cellassets.storage.deployment import Deployment
from cellassets.storage.plan import Publication
from cellassets.storage.records import Records, parents_of

if TYPE_CHECKING:
    from cellassets.registry import ModelEntry
    from cellassets.screens.landing import LandedExperiment
    from cellassets.stages.stage import Stage

T = TypeVar("T")
MODELS, ANNOTATIONS, CONFIGS = ("models",), ("annotations",), ("configs",)


class LiveSnapshot(Snapshot):
    """A deployment as it is at the last `refresh`. Hold `lock` from the refresh to the last read."""

    def __init__(self, deployment: Deployment, stages: Mapping[str, "Stage"]) -> None:
        super().__init__(deployment, stages, Records(deployment.lake.catalogue))
        self.lock = RLock()
        self.graph = Incremental()
        self.landing = Landing({}, {}, {})
        self._models: tuple[ModelEntry, ...] = ()
        self._stamps: dict[Hashable, Any] = {}
        if not deployment.lake.catalogue.state().is_scanned:
            deployment.lake.scan()

    def refresh(self) -> int:
        """Returns how many things changed since the last call, after reading them.

        The landing zone is only looked at by `refresh_landing`.
        """
        cells: list[Hashable] = []
        for address in self.records.refresh():
            cells.append(("record", *address))
            cells.extend(("keys", *listing) for listing in parents_of(address))
        cells += self._changed_models()
        cells += self._changed_files(CONFIGS, self.deployment.configs, "**/*.yaml")
        if self._changed_files(ANNOTATIONS, self.deployment.lake.annotations, "*"):
            cells.append(ANNOTATIONS)
        if cells:
            self.graph.changed(cells)
        return len(cells)

    def refresh_landing(self, first_seen: Mapping[str, tuple[str, str]], now: datetime, quiet: timedelta) -> None:
        """Looks at the landing zone.

        Args:
            first_seen: when each folder was first seen with its present content, as the previous call left it in
                `landing.first_seen`.
            now: the time of this call, with a time zone.
            quiet: a folder without a marker is complete after this long without a change.
        """
        before = self.landing
        self.landing = Landing.scan(self.deployment.landing, first_seen=first_seen, now=now, quiet=quiet)
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
        """Returns the published keys one level below a kind and the first of its keys, sorted."""
        self.graph.read(("keys", kind, parents))
        return self.records.keys(kind, *parents)

    def config(self, *names: str) -> UPath:
        """Returns the path of a settings file, there or not."""
        self.graph.read((CONFIGS, "/".join(names)))
        return super().config(*names)

    def config_names(self, folder: str) -> tuple[str, ...]:
        """Returns the stems of the YAML files in a folder of settings, sorted."""
        self.graph.read((CONFIGS, folder))
        known = self._stamps.get(CONFIGS, {})
        prefix = f"{folder}/"
        return tuple(sorted(name[len(prefix) : -len(".yaml")] for name in known if name.startswith(prefix)))

    def models(self) -> tuple["ModelEntry", ...]:
        """Returns all registered models, sorted by key."""
        self.graph.read(MODELS)
        return self._models

    def model(self, key: str) -> "ModelEntry":
        """Returns a registered model."""
        return self.value(_model, key)

    def landed_experiment(self, experiment_id: str) -> "LandedExperiment":
        """Returns an experiment in the landing zone.

        Raises:
            LayoutError: the landing zone has no such experiment, or it is not complete yet.
        """
        self.graph.read(("landed", experiment_id))
        found = self.landing.complete.get(experiment_id)
        if found is None:
            reason = self.landing.waiting.get(experiment_id, "no such experiment in the landing zone")
            message = f"{self.deployment.landing / experiment_id}: {reason}"
            raise LayoutError(message)
        return found

    def annotations(self) -> UPath:
        """Returns the folder of annotations."""
        self.graph.read(ANNOTATIONS)
        return super().annotations()

    def _changed_models(self) -> list[Hashable]:
        from cellassets.registry import Registry

        found = tuple(Registry(self.deployment.tracking_uri, self.deployment.model_root).list_models())
        is_changed, self._models = found != self._models, found
        return [MODELS] if is_changed else []

    def _changed_files(self, cell: Hashable, folder: UPath, pattern: str) -> list[Hashable]:
        """Files below a folder that came, went or changed, and the folders whose listing changed."""
        before: dict[str, Any] = self._stamps.get(cell, {})
        now = _stamps(folder, pattern)
        self._stamps[cell] = now
        changed: list[Hashable] = [(cell, name) for name in {*before, *now} if before.get(name) != now.get(name)]
        listings = {name.rpartition("/")[0] for name in before.keys() ^ now.keys()}
        return [*changed, *((cell, name) for name in listings)]


def _model(snapshot: LiveSnapshot, key: str) -> "ModelEntry":
    return Snapshot.model(snapshot, key)


def _stamps(folder: UPath, pattern: str) -> dict[str, Any]:
    """Size and time (or the tag of an object) of each file below a folder, by its name."""
    if not folder.is_dir():
        return {}
    stamps: dict[str, Any] = {}
    for path in folder.glob(pattern):
        try:
            info = path.fs.info(path.path)
        except FileNotFoundError:  # removed between listing and looking
            continue
        token = next((str(info[name]) for name in ("etag", "mtime", "updated", "created") if name in info), "")
        stamps[path.path[len(folder.path) :].lstrip("/")] = (info.get("size"), token)
    return stamps


def policy_or_refusal(snapshot: Snapshot) -> str | None:
    """Returns why `policy.yaml` cannot be read; None where it can."""
    from cellassets.stages.settings import policy

    try:
        policy(snapshot)
    except ConfigError as error:
        return str(error)
    return None
