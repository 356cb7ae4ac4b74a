"""The mean and standard deviation by which an encoder normalises each channel of each site of a store."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Integer

from cellassets.encoders.adaptation import SiteBatch, SiteReader
from cellassets.encoders.container.encoder import ContainerEncoder
from cellassets.images.reader import ExperimentStore
from cellassets.training.normalisation import channel_statistics, min_std

if TYPE_CHECKING:
    from cellassets.encoders.loading import AnyEncoder

Moments = tuple[Float32[np.ndarray, "all channel"], Float32[np.ndarray, "all channel"]]


def moments_of(store: ExperimentStore, encoder: "AnyEncoder") -> Moments:
    """Returns mean and standard deviation of each channel of all sites, in grey levels, as the encoder takes them."""
    mean, std = channel_statistics(store.sites, encoder.normalisation)
    if not isinstance(encoder, ContainerEncoder):  # its manifest has the smallest deviation beside this one
        std = np.maximum(std, np.float32(min_std(store.dtype, store.imaging.top_grey_level)))
    return mean, std


def site_reader(store: ExperimentStore, moments: Moments) -> SiteReader:
    """Returns a function that reads images, means and standard deviations of some sites."""

    def read(rows: Integer[np.ndarray, "site"]) -> SiteBatch:
        return store.read(rows), moments[0][rows], moments[1][rows]

    return read
