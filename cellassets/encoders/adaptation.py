"""Batch normalisation with the statistics of the sites that are embedded, in place of those of the training (AdaBN).

The statistics are means over a few batches of sites, spread evenly over the experiment or plate. So they depend on its
sites only, and every process that embeds a part of them finds the same ones.

Source: Li et al. 2018, Adaptive Batch Normalization for practical domain adaptation, Pattern Recognit. 80:109.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Integer, UInt

from cellassets.errors import EncoderError
from cellassets.training.recipe import BatchStatistics

MAX_SITES = 512
MAX_BATCH = 32
SiteBatch = tuple[
    UInt[np.ndarray, "site channel y x"], Float32[np.ndarray, "site channel"], Float32[np.ndarray, "site channel"]
]
SiteReader = Callable[[Integer[np.ndarray, "site"]], SiteBatch]


@runtime_checkable
class AdaptsToSites(Protocol):
    """An encoder that may depend on the sites of the experiment or plate, beyond each site itself.

    Attributes:
        batch_statistics: what it adapts to: `experiment`, `plate`, or `trained` for nothing.
    """

    batch_statistics: BatchStatistics

    def adapt(self, n_sites: int, read: SiteReader) -> None:
        """Adapts to the sites of an experiment or plate, if the model is one that does.

        Args:
            n_sites: sites of the experiment or plate.
            read: returns images, mean and standard deviation of some sites, as `embed` takes them.
        """


def sites_to_adapt_to(n_sites: int) -> list[Integer[np.ndarray, "site"]]:
    """Returns the numbers of the sites in each batch; the batches have equal sizes, or differ by one.

    Raises:
        EncoderError: there is one site only, which has no variance.
    """
    if n_sites < 2:
        message = (
            f"{n_sites} site: the statistics of an experiment or plate need at least 2; embed more sites at once, or "
            "train the recipe with batch_statistics: trained"
        )
        raise EncoderError(message)
    chosen = np.unique(np.linspace(0, n_sites - 1, min(n_sites, MAX_SITES)).round().astype(np.int64))
    # sites that follow each other are of one well, so each batch takes every n-th one
    n_batches = -(-len(chosen) // MAX_BATCH)
    return [chosen[first::n_batches] for first in range(n_batches)]
