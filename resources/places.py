"""Where things are: lake, landing zone, model registry, configuration files. Thin: each hands back a library object."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from upath import UPath

    from cellassets.reconcile.policy import Policy
    from cellassets.registry import Registry
    from cellassets.storage.lake import Lake


class LakeResource(dg.ConfigurableResource):
    """All artefacts, below one folder or fsspec URL; `work` is a local folder for unpublished work."""

    root: str
    work: str

    def open(self) -> "Lake":
        """Returns the lake."""
        from upath import UPath

        from cellassets.storage.lake import Lake

        return Lake(UPath(self.root))

    def work_folder(self, *names: str) -> Path:
        """Returns a local folder that outlives a killed run, made if need be."""
        folder = Path(self.work).joinpath(*names)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class LandingResource(dg.ConfigurableResource):
    """The landing zone: a folder or fsspec URL that holds a folder an experiment."""

    root: str

    def path(self) -> "UPath":
        """Returns its path."""
        from upath import UPath

        return UPath(self.root)


class RegistryResource(dg.ConfigurableResource):
    """MLflow: tracking, artefacts, model registry."""

    tracking_uri: str
    artifact_root: str

    def open(self) -> "Registry":
        """Returns the registry; nothing is contacted before it is used."""
        from cellassets.registry import Registry

        return Registry(self.tracking_uri, self.artifact_root)


class ConfigsResource(dg.ConfigurableResource):
    """The folder of recipes, data sets, benchmarks and policy, read anew each time it is asked."""

    root: str

    def path(self) -> "UPath":
        """Returns the folder."""
        from upath import UPath

        return UPath(self.root)

    def policy(self) -> "Policy":
        """Returns `policy.yaml`."""
        from cellassets.reconcile.policy import load_policy

        return load_policy(self.path())
