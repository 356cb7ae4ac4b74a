"""Batch normalisation with the statistics of the sites that are embedded, in place of those of the training (AdaBN).

The statistics are means over a few batches of sites, spread evenly over the experiment or plate. So they depend on its
sites only, and every process that embeds a part of them finds the same ones.

Source: Li et al. 2018, Adaptive Batch Normalization for practical domain adaptation, Pattern Recognit. 80:109.
"""

from collections.abc import Callable, Iterator
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


class Adaptation:
    """Keeps an encoder adapted to the sites that it embeds. Encoders that do not adapt stay as they are.

    Args:
        encoder: any encoder.
        plates: the plate of each site of the experiment.
        read: returns images, mean and standard deviation of some sites, as `embed` takes them.
    """

    def __init__(self, encoder: object, plates: np.ndarray, read: SiteReader) -> None:
        self.encoder = encoder if isinstance(encoder, AdaptsToSites) else None
        self.plates = plates
        self.read = read
        self._adapted_to: str | None = None

    def begin(self) -> None:
        """Adapts the encoder to the experiment, or to its first plate."""
        if self.encoder is None:
            return
        if self.encoder.batch_statistics == "plate":
            self._adapt_to_plate(self.encoder, self.plates[0])
        else:
            self.encoder.adapt(len(self.plates), self.read)

    def parts(self, indices: Integer[np.ndarray, "site"]) -> Iterator[Integer[np.ndarray, "alike"]]:
        """Yields the sites whose statistics the encoder has: all, or plate after plate, adapting it to each one."""
        if self.encoder is None or self.encoder.batch_statistics != "plate":
            yield indices
            return
        plates = self.plates[indices]
        for sites in np.split(indices, np.flatnonzero(plates[1:] != plates[:-1]) + 1):
            self._adapt_to_plate(self.encoder, self.plates[sites[0]])
            yield sites

    def _adapt_to_plate(self, encoder: AdaptsToSites, plate_id: str) -> None:
        if plate_id != self._adapted_to:
            sites = np.flatnonzero(self.plates == plate_id)
            encoder.adapt(len(sites), lambda rows: self.read(sites[rows]))
            self._adapted_to = plate_id


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
