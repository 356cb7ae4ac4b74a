"""One decision about the arithmetic of each embedding table, kept beside its first part.

An encoder that can choose decides on the first sites of the experiment. A later process that makes the missing parts,
perhaps on a machine that would decide otherwise, uses the same precision.
"""

import json
from contextlib import suppress
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt
from upath import UPath

from cellassets.images.reader import ExperimentStore
from cellassets.storage.artifact import create_file

DECISION_NAME = "precision.json"
N_JUDGED = 16  # sites


@runtime_checkable
class ChoosesPrecision(Protocol):
    """An encoder that can compute in several precisions.

    Attributes:
        precision: the precision that it computes in.
    """

    precision: str

    def choose_precision(
        self,
        images: UInt[np.ndarray, "site channel y x"],
        mean: Float32[np.ndarray, "site channel"],
        std: Float32[np.ndarray, "site channel"],
    ) -> str:
        """Returns the fastest precision that barely changes the vectors of these sites on this machine."""

    def compute_in(self, precision: str) -> None:
        """Computes in this precision from now on."""


def settle_precision(
    encoder: object,
    store: ExperimentStore,
    folder: UPath,
    moments: tuple[Float32[np.ndarray, "all channel"], Float32[np.ndarray, "all channel"]],
) -> None:
    """Sets the precision of an encoder that can choose to what was decided for the parts in a folder.

    The first process decides. Parts without a decision are of an earlier version of cellassets, which kept none: their
    precision is not known, so they are removed.

    Args:
        encoder: any encoder.
        store: the sites of the experiment.
        folder: where the parts are.
        moments: mean and standard deviation of each channel, of all sites of the store.
    """
    if not isinstance(encoder, ChoosesPrecision):
        return
    path = folder / DECISION_NAME
    if not path.exists():
        undecided = list(folder.glob("part-*.parquet")) if folder.exists() else []
        first = np.arange(min(N_JUDGED, store.n_sites))
        images = np.concatenate([block for _, block in store.blocks(len(first), indices=first)])
        chosen = encoder.choose_precision(images, moments[0][first], moments[1][first])
        with suppress(FileExistsError):  # another process decided meanwhile
            create_file(path, json.dumps({"precision": chosen}).encode())
            for part in undecided:
                part.unlink(missing_ok=True)
    encoder.compute_in(json.loads(path.read_bytes())["precision"])
