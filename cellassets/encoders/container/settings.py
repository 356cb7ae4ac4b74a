"""`containers.yaml`: whether and where this deployment starts the processes of container encoders. Light to import.

Without the file none is started. Whoever may register a model decides what its process does, so somebody who runs the
deployment has to allow it.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from cellassets.configuration import Parameters

SETTINGS_NAME = "containers.yaml"


class ContainerSettings(Parameters):
    """Where container encoders run. Without the file they are refused."""

    where: Literal["refused", "local", "kubernetes"] = Field(
        default="refused",
        description="`local`: `local_command` as a process of the run; `kubernetes`: `image` in a pod of its own",
    )
    image_prefixes: tuple[str, ...] = Field(
        default=(), description="A pod's image must begin with one of these, such as `ghcr.io/our-lab/`"
    )
    exchange: str | None = Field(
        default=None, description="Folder for batches; with `kubernetes` the mounted volume. Local default: in work"
    )
    volume_claim: str | None = Field(
        default=None, description="Claim of the volume that is mounted at `exchange` in the run's pod, ReadWriteMany"
    )
    namespace: str | None = Field(default=None, description="Namespace of the pods; null: the run's own")
    node_selector: dict[str, str] = Field(default={}, description="Labels that a pod's node must have")
    tolerations: tuple[dict[str, Any], ...] = Field(default=(), description="Tolerations of the pods")
    image_pull_secrets: tuple[str, ...] = Field(default=(), description="Secrets for a private image registry")
    priority_class: str | None = Field(default=None, description="Priority class of the pods")
    run_as: int = Field(default=65532, ge=1, description="User and group of the pods if the run itself is root")
    poll_s: float = Field(default=5, gt=0, description="Seconds between two looks at a pod")

    @model_validator(mode="after")
    def _is_complete(self) -> "ContainerSettings":
        needed = ("exchange", "volume_claim", "image_prefixes")
        missing = [name for name in needed if not getattr(self, name)] if self.where == "kubernetes" else []
        if missing:
            message = f"where: kubernetes needs {', '.join(missing)} too"
            raise ValueError(message)
        return self
