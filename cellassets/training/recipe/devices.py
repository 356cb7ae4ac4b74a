"""The devices of a training: how many processes take part in every batch, and where they run. No torch here."""

from typing import Literal

from pydantic import Field

from cellassets.configuration import Parameters


class Devices(Parameters):
    """How many processes train together. Each has a device of its own and a share of every batch."""

    n_per_node: int = Field(default=1, ge=1, le=64, description="Processes per node; each has one GPU")
    n_nodes: int = Field(default=1, ge=1, le=64, description="Nodes; above 1 only in a Kubernetes cluster")
    strategy: Literal["ddp", "fsdp"] = Field(
        default="ddp",
        description="ddp: every device holds the whole network; fsdp: every device holds a share of its weights",
    )
    accelerator: Literal["auto", "cpu"] = Field(
        default="auto", description="auto: GPUs where there are any; cpu: processor cores also where there is a GPU"
    )

    @property
    def n_processes(self) -> int:
        """Processes of all nodes."""
        return self.n_per_node * self.n_nodes
