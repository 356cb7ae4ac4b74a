"""Starts the processes of container encoders by Dagster Pipes: in the run itself, or in a pod of their own.

`cellassets.encoders.container` writes the batch before and reads the vectors afterwards. What the process reports by
Pipes goes into the run's log and into the asset's metadata. docs/container_encoders.md is the contract.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from cellassets.encoders.container.encoder import Batch
    from cellassets.encoders.container.settings import ContainerSettings
    from cellassets.storage.deployment import Deployment

PREFIX = "batch-"
LEFT_OVER_AFTER_S = 7 * 24 * 3600
MAX_REPORTED = 50
MAX_REPORTED_CHARACTERS = 1000


class PipesContainers:
    """The processes of one run; a `ContainerRunner`."""

    def __init__(self, context: dg.AssetExecutionContext, deployment: "Deployment") -> None:
        self.context = context
        self.deployment = deployment
        self._reported: dict[str, Any] = {}

    @contextmanager
    def exchange(self) -> Iterator[Path]:
        """Yields a new folder for one batch, which is removed at the end."""
        settings = self._settings()
        root = Path(settings.exchange) if settings.exchange else self.deployment.work_folder("exchange")
        _remove_left_over(root)
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{self.context.run.run_id[:8]}-", dir=root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def run(self, batch: "Batch") -> None:
        """Runs the process of a batch until it ends.

        Raises:
            EncoderError: the process failed for good, or this deployment does not run it.
            RetryRequested: the process was interrupted, or asked to be run again.
        """
        from cellassets.errors import EncoderError
        from resources.container_pods import run_in_pod
        from resources.container_processes import run_as_process

        settings = self._settings()
        if settings.where == "refused":
            message = (
                f"{batch.title}: this deployment starts no container encoders; set `where` in "
                f"{self.deployment.configs / 'containers.yaml'} if it should"
            )
            raise EncoderError(message)
        start = run_in_pod if settings.where == "kubernetes" else run_as_process
        self._note(start(self.context, settings, batch))

    def take_reported(self) -> dict[str, Any]:
        """Returns the metadata that processes reported since the last call."""
        reported, self._reported = self._reported, {}
        return reported

    def _note(self, messages: Sequence[Any]) -> None:
        """Keeps the values in custom messages: the last one of each name."""
        pairs = [pair for message in messages if isinstance(message, Mapping) for pair in message.items()]
        for name, value in pairs:
            is_plain = isinstance(value, (str, int, float)) and len(f"{name}{value}") <= MAX_REPORTED_CHARACTERS
            if is_plain and (name in self._reported or len(self._reported) < MAX_REPORTED):
                self._reported[str(name)] = value

    def _settings(self) -> "ContainerSettings":
        from cellassets.configuration import load_yaml
        from cellassets.encoders.container.settings import SETTINGS_NAME, ContainerSettings

        path = self.deployment.configs / SETTINGS_NAME
        return load_yaml(path, ContainerSettings) if path.exists() else ContainerSettings()


def _remove_left_over(root: Path) -> None:
    """Removes the batches of runs that were killed long ago."""
    for folder in root.glob(f"{PREFIX}*"):
        try:
            is_old = time.time() - folder.stat().st_mtime > LEFT_OVER_AFTER_S
        except FileNotFoundError:  # its run has just ended
            continue
        if is_old:
            shutil.rmtree(folder, ignore_errors=True)
