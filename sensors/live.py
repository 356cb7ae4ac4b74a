"""The snapshot that all sensors of a process share, kept up to date from tick to tick."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from resources.places import DeploymentResource

if TYPE_CHECKING:
    from cellassets.reconcile.live import LiveSnapshot
    from cellassets.storage.deployment import Deployment

_snapshots: "dict[Deployment, LiveSnapshot]" = {}
_opening = Lock()


@contextmanager
def live_snapshot(resource: DeploymentResource) -> Iterator["LiveSnapshot"]:
    """Yields the refreshed snapshot of a deployment; only one sensor at a time can use it."""
    from cellassets.reconcile.live import LiveSnapshot
    from cellassets.stages.catalogue import stages

    deployment = resource.open()
    with _opening:
        if deployment not in _snapshots:
            _snapshots[deployment] = LiveSnapshot(deployment, stages())
    snapshot = _snapshots[deployment]
    with snapshot.lock:
        snapshot.refresh()
        yield snapshot
