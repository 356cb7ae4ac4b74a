"""A container encoder in this process: it hands a batch to the one that starts processes, and checks the answer.

`ContainerRunner` is that one. Dagster's runs have one (`resources/containers.py`), by Dagster Pipes.
"""

import json
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Integer
from pydantic import ValidationError

from cellassets.configuration import in_words
from cellassets.encoders.container.answer import Expected, read_answer
from cellassets.encoders.container.batch import SITE, write_batch
from cellassets.encoders.container.declaration import ContainerSpec, Running
from cellassets.errors import EncoderError, RegistryError
from cellassets.images.reader import ExperimentStore
from cellassets.training.recipe import NormalisationKind
from cellassets.training.spec import SPEC_NAME

INPUT, OUTPUT, PROGRAM = "input", "output", "program"


@dataclass(frozen=True)
class Batch:
    """One process to start: the folder of its batch, and what it is.

    Attributes:
        folder: has the folders `input` (to read), `output` (to write) and `program` (the model's own files).
        spec: the program.
        running: what it needs.
        title: what it does, for people.
    """

    folder: Path
    spec: ContainerSpec
    running: Running
    title: str


@runtime_checkable
class ContainerRunner(Protocol):
    """Starts the processes of container encoders."""

    def exchange(self) -> AbstractContextManager[Path]:
        """Returns a new empty folder that the process can reach; it is removed at the end."""

    def run(self, batch: Batch) -> None:
        """Runs the process of a batch until it ends.

        Raises:
            EncoderError: the process failed for good, or this deployment does not run it.
        """


class ContainerEncoder:
    """Turns the sites of a store into vectors by one process per batch.

    Attributes:
        n_channels: number of channels of the sites it was made for.
        pixel_types: types of pixels that its program reads.
        normalisation: over what the mean and standard deviation in the manifest are computed.
        batch_size: sites per process, and so per part of the embedding table.
        precision: what it hands over.
        device: where it computes.
    """

    precision = "fp32"
    device = "container"

    def __init__(self, folder: Path, runner: ContainerRunner | None, running: Running | None = None) -> None:
        self.folder = folder
        self.spec = _read_spec(folder / SPEC_NAME)
        self.running = running or Running()
        if runner is None:
            message = f"{folder / SPEC_NAME}: a container encoder is started by a Dagster run; materialise it there"
            raise EncoderError(message)
        self.runner = runner
        self.n_channels = self.spec.n_channels
        self.pixel_types: tuple[str, ...] = self.spec.pixel_types
        self.normalisation: NormalisationKind = self.spec.normalisation
        self.batch_size = self.running.batch_size

    def embed_sites(
        self,
        store: ExperimentStore,
        indices: Integer[np.ndarray, "site"],
        moments: tuple[Float32[np.ndarray, "site channel"], Float32[np.ndarray, "site channel"]],
        model_key: str,
    ) -> Float32[np.ndarray, "site feature"]:
        """Returns one vector per site.

        Args:
            store: the experiment's sites.
            indices: rows of `store.sites`.
            moments: mean and standard deviation of each channel of these sites, in grey levels.
            model_key: the model, for the manifest and for messages.

        Raises:
            EncoderError: the process failed, or its vectors are not what was expected.
        """
        title = f"{model_key} on {store.experiment_id}, sites {indices[0]} to {indices[-1]}"
        with self.runner.exchange() as folder:
            for name in (INPUT, OUTPUT):
                (folder / name).mkdir()
            shutil.copytree(self.folder, folder / PROGRAM)  # a program may write beside itself
            write_batch(folder / INPUT, store, indices, moments, self.spec, model_key)
            self.runner.run(Batch(folder, self.spec, self.running, title))
            try:
                return read_answer(folder / OUTPUT, self._expected(store, indices))
            except EncoderError as error:
                message = f"model {model_key}, experiment {store.experiment_id}: {error}"
                raise EncoderError(message) from error

    def close(self) -> None:
        """Does nothing: every process has ended with its batch."""

    def _expected(self, store: ExperimentStore, indices: Integer[np.ndarray, "site"]) -> Expected:
        sites = store.sites[indices]
        return Expected(
            sites=[f"{plate} {well} site {site}" for plate, well, site in sites.select(SITE).rows()],
            embedding_dim=self.spec.embedding_dim,
            is_uniform=sites["channel_mean"].n_unique() == 1,
        )


def _read_spec(path: Path) -> ContainerSpec:
    try:
        return ContainerSpec.model_validate(json.loads(path.read_bytes()))
    except ValidationError as error:
        words = in_words(error, ContainerSpec)
        message = f"{path}: not the {SPEC_NAME} of a container encoder that this version can read: {words}"
        raise RegistryError(message) from error
