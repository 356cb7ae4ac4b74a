"""Inputs of plans: published records, settings, registered models, landed folders and annotations at one moment.

A `Snapshot` reads each thing once. `cellassets.reconcile.live.LiveSnapshot` has the same methods and is kept up to
date: it notes which plan read what, so after a change only the plans that depend on it are made again. A plan must
read everything through these methods; a change of anything else is not noticed.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from upath import UPath

from cellassets.errors import ArtifactMissing, CellAssetsError, LayoutError, RegistryError
from cellassets.storage.deployment import Deployment
from cellassets.storage.plan import Plan, Publication
from cellassets.storage.records import Address, Records

if TYPE_CHECKING:
    from cellassets.registry import ModelEntry
    from cellassets.screens.landing import LandedExperiment
    from cellassets.stages.stage import Stage

T = TypeVar("T")
MAX_NAMED = 5


def first_few(names: Sequence[str]) -> str:
    """Returns the first names, and how many more there are."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


class NotReady(ArtifactMissing):
    """Inputs of a plan are not published yet.

    Attributes:
        addresses: the missing inputs.
    """

    def __init__(self, message: str, addresses: Sequence[Address]) -> None:
        super().__init__(message)
        self.addresses = tuple(addresses)


class Snapshot:
    """A deployment at one moment.

    Args:
        deployment: where everything is.
        stages: all stages by name.
        records: what is published; by default it is read from the catalogue.
    """

    def __init__(self, deployment: Deployment, stages: Mapping[str, "Stage"], records: Records | None = None) -> None:
        self.deployment = deployment
        self.stages = stages
        self.records = deployment.lake.records() if records is None else records
        self._values: dict[tuple[Any, ...], Any] = {}

    def value(self, function: Callable[..., T], *arguments: Hashable) -> T:
        """Returns `function(self, *arguments)`, computed once for equal arguments.

        Raises:
            CellAssetsError: the function raised it; later calls with equal arguments raise it again.
        """
        key = (function, *arguments)
        if key not in self._values:
            try:
                self._values[key] = (function(self, *arguments), None)
            except CellAssetsError as error:
                self._values[key] = (None, error)
        found, refusal = self._values[key]
        if refusal is not None:
            raise refusal.with_traceback(None)
        return found

    def find(self, kind: str, *keys: str) -> Publication | None:
        """Returns the current publication at an address, None where there is none."""
        return self.records.find(kind, *keys)

    def keys(self, kind: str, *parents: str) -> tuple[str, ...]:
        """Returns the published keys one level below a kind and its leading keys, sorted."""
        return self.records.keys(kind, *parents)

    def need(self, kind: str, *keys: str) -> Publication:
        """Returns the current publication at an address.

        Raises:
            NotReady: there is none.
        """
        return self.need_all(kind, [keys])[0]

    def need_all(self, kind: str, addresses: Sequence[tuple[str, ...]]) -> list[Publication]:
        """Returns the current publications at several addresses of one kind.

        Raises:
            NotReady: some are not published; the message names the first few.
        """
        found = [self.find(kind, *keys) for keys in addresses]
        missing = [keys for keys, publication in zip(addresses, found, strict=True) if publication is None]
        if missing:
            named = first_few(["|".join(keys) for keys in missing if keys])
            of = f" of {named}" if named else ""
            message = f"waits for {kind}{of}: not published yet"
            raise NotReady(message, [(kind, keys) for keys in missing])
        return [publication for publication in found if publication is not None]

    def plan(
        self,
        kind: str,
        keys: tuple[str, ...],
        inputs: Mapping[str, Any],
        *,
        pins: Sequence[Publication] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> Plan:
        """Returns a plan that replaces what is published at its address now."""
        published = self.find(kind, *keys)
        return Plan(kind, keys, inputs, pins, settings or {}, 0 if published is None else published.generation)

    def config(self, *names: str) -> UPath:
        """Returns the path of a settings file, which may not exist."""
        return self.deployment.configs.joinpath(*names)

    def config_names(self, folder: str) -> tuple[str, ...]:
        """Returns the stems of the YAML files in a folder of settings, sorted; empty without such a folder."""
        path = self.deployment.configs / folder
        return tuple(sorted(child.stem for child in path.glob("*.yaml"))) if path.is_dir() else ()

    def models(self) -> tuple["ModelEntry", ...]:
        """Returns all registered models, sorted by key."""
        return self.value(_list_models)

    def model(self, key: str) -> "ModelEntry":
        """Returns a registered model.

        Raises:
            RegistryError: there is none with this key.
        """
        for entry in self.models():
            if entry.key == key:
                return entry
        raise RegistryError(not_registered(key, self.deployment))

    def landed_experiment(self, experiment_id: str) -> "LandedExperiment":
        """Returns an experiment in the landing zone.

        Raises:
            LayoutError: the landing zone has no such experiment, or it is not complete yet.
        """
        landed = self.value(_landed, experiment_id)
        if landed is not None:
            return landed
        message = f"{self.deployment.landing / experiment_id}: no such experiment in the landing zone"
        raise LayoutError(message)

    def annotations(self) -> UPath:
        """Returns the folder of annotations."""
        return self.deployment.lake.annotations


def not_registered(model_key: str, deployment: Deployment) -> str:
    """Returns the message for a model that is not in the registry."""
    return f"model {model_key} is not in the registry at {deployment.tracking_uri}"


def _list_models(snapshot: Snapshot) -> tuple["ModelEntry", ...]:
    from cellassets.registry import Registry

    deployment = snapshot.deployment
    return tuple(Registry(deployment.tracking_uri, deployment.model_root).list_models())


def _landed(snapshot: Snapshot, experiment_id: str) -> "LandedExperiment | None":
    from cellassets.screens.landing import look_at

    return look_at(snapshot.deployment.landing, experiment_id)
