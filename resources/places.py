"""The places of a deployment, as a Dagster resource that returns the library's `Deployment`."""

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
    image: str = ""
    ui_url: str = ""
    mlflow_url: str = ""

    @classmethod
    def of(cls, deployment: "Deployment") -> "DeploymentResource":
        """Returns the resource of a deployment."""
        return cls(**asdict(deployment))

    def open(self) -> "Deployment":
        """Returns the deployment; connections are opened only when it is used."""
        from cellassets.storage.deployment import Deployment

        return Deployment(**{name: getattr(self, name) for name in type(self).model_fields})
