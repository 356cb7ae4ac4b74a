"""The classical encoder: measures sites in this process, and in one process per core once there are many.

A model folder comes in as `encoder.json`; `site.py` does the measuring.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from pydantic import ValidationError

from cellassets.encoders.classical.site import measure_site
from cellassets.errors import RegistryError
from cellassets.machine import n_cores
from cellassets.training.recipe import ClassicalParameters, NormalisationKind
from cellassets.training.spec import SPEC_NAME

SITES_PER_PROCESS = 16
SITES_PER_TASK = 4  # few, so that no process waits long for another
# Starting the processes costs 2 to 4 s, because each imports numpy, scipy and the main module of its parent: as long as
# 50 to 100 sites of the demo take. Threads gain at most a quarter on two cores: numpy's calls on one site are short.
SITES_BEFORE_POOL = 512


class ClassicalEncoder:
    """Measures sites. The vectors do not depend on the number of processes.

    The first `SITES_BEFORE_POOL` sites are measured in this process, so an experiment of a few hundred sites never
    pays for a pool.

    Attributes:
        n_channels: number of channels of the sites.
        pixel_types: types of pixels that are measured.
        normalisation: whose mean and standard deviation `embed` is given. It ignores both.
        batch_size: number of sites that `embed` takes best at once.
        precision: precision of the arithmetic.
        device: where it computes.
    """

    pixel_types: tuple[str, ...] = ("uint8",)
    normalisation: NormalisationKind = "site"
    precision = "fp64"
    device = "cpu"

    def __init__(
        self,
        parameters: ClassicalParameters,
        *,
        n_processes: int | None = None,
        sites_before_pool: int = SITES_BEFORE_POOL,
    ) -> None:
        self.parameters = parameters
        self.n_channels = parameters.n_channels
        self._n_processes = n_processes or n_cores()
        self._sites_before_pool = sites_before_pool
        self._n_measured = 0
        self._pool: ProcessPoolExecutor | None = None
        self.batch_size = SITES_PER_PROCESS * self._n_processes

    @classmethod
    def load(cls, folder: Path) -> "ClassicalEncoder":
        """Returns the encoder that a model folder describes.

        Raises:
            RegistryError: `encoder.json` does not describe a classical encoder.
        """
        path = folder / SPEC_NAME
        try:
            return cls(ClassicalParameters.model_validate(json.loads(path.read_bytes())["parameters"]))
        except (KeyError, ValidationError) as error:
            message = f"{path}: not the {SPEC_NAME} of a classical encoder that this version can read: {error}"
            raise RegistryError(message) from error

    def embed(
        self,
        images: UInt8[np.ndarray, "site channel y x"],
        mean: Float32[np.ndarray, "site channel"],  # noqa: ARG002  grey levels are measured as they are
        std: Float32[np.ndarray, "site channel"],  # noqa: ARG002
    ) -> Float32[np.ndarray, "site feature"]:
        """Returns one vector per site, in the order of `feature_names`.

        Args:
            images: grey levels, 0 to 255.
            mean: not used.
            std: not used.
        """
        measure = partial(site_vector, parameters=self.parameters)
        if self._n_measured >= self._sites_before_pool and self._n_processes > 1 and self._pool is None:
            self._pool = ProcessPoolExecutor(self._n_processes, mp_context=get_context("spawn"))
        self._n_measured += len(images)
        if self._pool is None:
            return np.stack([measure(site) for site in images])
        return np.stack(list(self._pool.map(measure, images, chunksize=SITES_PER_TASK)))

    def close(self) -> None:
        """Ends the processes."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def site_vector(
    images: UInt8[np.ndarray, "channel y x"], parameters: ClassicalParameters
) -> Float32[np.ndarray, "feature"]:
    """Returns the features of one site, in the order of `feature_names`."""
    return np.fromiter(measure_site(images, parameters).values(), np.float32)
