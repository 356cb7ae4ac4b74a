"""The resources of this deployment, from environment variables (see `cellassets.storage.deployment`)."""

import os

import dagster as dg

from resources.alerts import AlertResource
from resources.places import DeploymentResource


def build_resources() -> dict[str, dg.ConfigurableResource]:
    """Returns the resources by the names under which assets and sensors ask for them."""
    from cellassets.storage.deployment import Deployment

    return {"deployment": DeploymentResource.of(Deployment.of(os.environ)), "alerts": AlertResource()}
