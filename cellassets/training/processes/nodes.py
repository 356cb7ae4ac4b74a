"""What starts the other nodes of a training. In a cluster that is `resources/training_nodes.py`."""

from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from cellassets.errors import CellAssetsError
from cellassets.training.recipe import NetworkRecipe


@runtime_checkable
class Nodes(Protocol):
    """The other nodes of a training, while it runs.

    Attributes:
        endpoint: address and port at which the agent of this node listens for them.
        address: of this node.
        run_id: name of the rendezvous.
    """

    endpoint: str
    address: str
    run_id: str

    def check(self) -> None:
        """Checks that no node was lost. Called often; it may look only now and then.

        Raises:
            ProcessLost: one was lost.
        """

    def explained(self, error: CellAssetsError) -> CellAssetsError:
        """Returns why the processes of this node failed: the loss of another node, or the error itself."""


@runtime_checkable
class NodeStarter(Protocol):
    """Starts the other nodes of a training."""

    def started(self, task: str, recipe: NetworkRecipe) -> AbstractContextManager[Nodes]:
        """Returns the nodes, which are asked for at the beginning of the block and removed at its end.

        Args:
            task: place of the task, which their agents read.
            recipe: has the number of nodes and of processes.
        """
