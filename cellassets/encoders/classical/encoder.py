"""The classical encoder: measures sites in this process, and in one process per core once there are many.

A model folder comes in as `encoder.json`; `site.py` does the measuring. What differs between experiments (DNA channel,
size of nuclei, scale of grey levels) is found by `set_up` before the first site.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt
from pydantic import ValidationError

from cellassets.configuration import in_words
from cellassets.encoders.classical.site import Acquisition, measure_site
from cellassets.errors import EncoderError, RegistryError
from cellassets.images.reader import ExperimentStore
from cellassets.images.spec import PIXEL_TYPES
from cellassets.machine import n_cores
from cellassets.quality.grey_scale import GreyScale
from cellassets.quality.inspect import nucleus_channel
from cellassets.quality.nucleus_size import nucleus_size, usual_diameter
from cellassets.training.recipe import ClassicalParameters, NormalisationKind
from cellassets.training.spec import SPEC_NAME

SITES_PER_PROCESS = 16
SITES_PER_TASK = 4  # few, so that no process waits long for another
# Starting the processes costs 2 to 4 s, because each imports numpy, scipy and the main module of its parent: as long as
# 50 to 100 sites of the demo take. Threads gain at most a quarter on two cores: numpy's calls on one site are short.
SITES_BEFORE_POOL = 512


class ClassicalEncoder:
    """Measures sites of one experiment after the other. The vectors do not depend on the number of processes.

    The first `SITES_BEFORE_POOL` sites are measured in this process, so an experiment of a few hundred sites never
    pays for a pool.

    Attributes:
        n_channels: number of channels of the sites.
        pixel_types: types of pixels that are measured.
        normalisation: whose mean and standard deviation `embed` is given. It ignores both.
        batch_size: number of sites that `embed` takes best at once.
        precision: precision of the arithmetic.
        device: where it computes.
        acquisition: how the images of the present experiment were taken; None before `set_up`.
    """

    pixel_types: tuple[str, ...] = PIXEL_TYPES
    normalisation: NormalisationKind = "site"
    precision = "fp64"
    device = "cpu"

    def __init__(
        self,
        parameters: ClassicalParameters,
        *,
        n_processes: int | None = None,
        sites_before_pool: int = SITES_BEFORE_POOL,
        has_assumed_diameter: bool = False,
    ) -> None:
        self.parameters = parameters
        self.acquisition: Acquisition | None = None
        self.n_channels = parameters.n_channels
        self._n_processes = n_processes or n_cores()
        self._sites_before_pool = sites_before_pool
        self._has_assumed_diameter = has_assumed_diameter
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
            described = json.loads(path.read_bytes())
            parameters = ClassicalParameters.model_validate(described["parameters"])
        except (KeyError, ValidationError) as error:
            words = f"the key {error} is missing"
            if isinstance(error, ValidationError):
                words = in_words(error, ClassicalParameters)
            message = f"{path}: not the {SPEC_NAME} of a classical encoder that this version can read: {words}"
            raise RegistryError(message) from error
        # models of format 1 were made when a diameter that is not given was a twelfth of the image's shorter side
        return cls(parameters, has_assumed_diameter=described.get("format_version") == 1)

    def set_up(self, store: ExperimentStore) -> None:
        """Finds DNA channel, size of nuclei and scale of grey levels of the experiment whose sites come next.

        Raises:
            ConfigError: no channel is named after a DNA stain, or the nucleus' size in micrometres cannot be right.
            CorruptArtifact: a shard of the store is damaged.
        """
        recipe = self.parameters
        channel = nucleus_channel(store, recipe.nucleus_channel, settings="the parameters of the classical recipe")
        scale = GreyScale.of(store.dtype, store.imaging.top_grey_level)
        self.acquisition = Acquisition(channel, self._diameter_px(store, channel), scale)

    def _diameter_px(self, store: ExperimentStore, channel: int) -> float:
        """The diameter of a nucleus after downsampling."""
        recipe, factor = self.parameters, self.parameters.image_downsample
        if self._has_assumed_diameter:
            return recipe.nucleus_diameter_px or usual_diameter(store.height // factor, store.width // factor)
        given_px = None if recipe.nucleus_diameter_px is None else recipe.nucleus_diameter_px * factor
        size = nucleus_size(store, channel, diameter_um=recipe.nucleus_diameter_um, diameter_px=given_px)
        return size.diameter_px / factor

    def embed(
        self,
        images: UInt[np.ndarray, "site channel y x"],
        mean: Float32[np.ndarray, "site channel"],  # noqa: ARG002  grey levels are measured as they are
        std: Float32[np.ndarray, "site channel"],  # noqa: ARG002
    ) -> Float32[np.ndarray, "site feature"]:
        """Returns one vector per site, in the order of `feature_names`.

        Args:
            images: grey levels of sites of the experiment that `set_up` was given.
            mean: not used.
            std: not used.

        Raises:
            EncoderError: `set_up` was not called.
        """
        if self.acquisition is None:
            message = "the classical encoder does not know the experiment of these sites: call set_up(store) before"
            raise EncoderError(message)
        measure = partial(site_vector, parameters=self.parameters, acquisition=self.acquisition)
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
    images: UInt[np.ndarray, "channel y x"], parameters: ClassicalParameters, acquisition: Acquisition
) -> Float32[np.ndarray, "feature"]:
    """Returns the features of one site, in the order of `feature_names`."""
    return np.fromiter(measure_site(images, parameters, acquisition).values(), np.float32)
