"""Where everything is, as a Dagster resource that hands back the library's object."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from cellassets.storage.deployment import Deployment


class DeploymentResource(dg.ConfigurableResource):
    """All places of the deployment: folders, fsspec URLs and database URLs (see `cellassets.storage.deployment`)."""

    lake_root: str
    catalogue_url: str
    landing_root: str
    work_root: str
    configs_root: str
    tracking_uri: str
    model_root: str

    @classmethod
    def of(cls, deployment: "Deployment") -> "DeploymentResource":
        """Returns the resource of a deployment."""
        return cls(**asdict(deployment))

    def open(self) -> "Deployment":
        """Returns the deployment; nothing is contacted before it is used."""
        from cellassets.storage.deployment import Deployment

        return Deployment(**{name: getattr(self, name) for name in type(self).model_fields})
