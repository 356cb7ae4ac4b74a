"""One decision about the arithmetic of each embedding table, kept beside its first part.

An encoder that can choose a backend measures on the experiment's sites. A later process that makes the missing parts
goes on with the same backend. On a machine that does not have it, the process decides again and makes all parts again:
the names of parts say which backend made them, so a table never mixes two.
"""

import json
import logging
from typing import Protocol, runtime_checkable

from pydantic import ValidationError
from upath import UPath

from cellassets.encoders.adaptation import SiteReader
from cellassets.encoders.inference.backend import REFERENCE
from cellassets.encoders.inference.choice import Decision
from cellassets.encoders.moments import Moments, site_reader
from cellassets.images.reader import ExperimentStore
from cellassets.storage.artifact import create_file, write_bytes

DECISION_NAME = "precision.json"

logger = logging.getLogger(__name__)


@runtime_checkable
class ChoosesBackend(Protocol):
    """An encoder that can compute by several backends.

    Attributes:
        backend: name of the one that computes.
        precision: number format of its arithmetic.
    """

    backend: str
    precision: str

    def choose_backend(self, n_sites: int, read: SiteReader) -> Decision:
        """Returns the fastest backend on this machine whose vectors of these sites are right."""

    def why_not(self, backend: str, n_sites: int, read: SiteReader) -> str | None:
        """Returns why a backend cannot compute these sites here; None if it computes them from now on."""

    def compute_in(self, backend: str) -> None:
        """Computes by this backend from now on."""


def settle_backend(
    encoder: object, store: ExperimentStore, folder: UPath, moments: Moments, *, model_key: str
) -> Decision | None:
    """Returns by which backend the parts in a folder are computed, and sets the encoder to it.

    The first process decides. Parts without a decision are of an earlier version of cellassets, which kept none: their
    precision is not known, so they are removed.

    Args:
        encoder: any encoder; None is returned for one that cannot choose.
        store: the sites of the experiment.
        folder: where the parts are.
        moments: mean and standard deviation of each channel, of all sites of the store.
        model_key: the model, for the log.
    """
    if not isinstance(encoder, ChoosesBackend):
        return None

    path, read = folder / DECISION_NAME, site_reader(store, moments)
    kept = _kept(path)
    if kept is None:
        kept = _decided_first(path, encoder.choose_backend(store.n_sites, read))
    reason = encoder.why_not(kept.backend, store.n_sites, read)
    if reason is not None:
        logger.warning(
            "model %s, experiment %s: an earlier run computed by %s, which cannot be used here (%s); its parts are not "
            "used, and all are made again",
            *(model_key, store.experiment_id, kept.backend, reason),
        )
        kept = encoder.choose_backend(store.n_sites, read)
        encoder.compute_in(kept.backend)
        write_bytes(path, _dumped(kept))
    logger.info("model %s, experiment %s: computed by %s", model_key, store.experiment_id, kept)
    return kept


def name_of_part(number: int, encoder: object) -> str:
    """Returns the file name of a part. Parts of different backends have different names."""
    backend = encoder.backend if isinstance(encoder, ChoosesBackend) else REFERENCE
    return f"part-{number:05d}{'' if backend == REFERENCE else f'-{backend}'}.parquet"


def _kept(path: UPath) -> Decision | None:
    """The decision of an earlier process. Earlier versions kept the precision alone, and named all parts alike."""
    if not path.exists():
        return None
    content = json.loads(path.read_bytes())
    if content == {"precision": "fp32"}:
        return Decision(backend=REFERENCE, precision="fp32")
    try:
        return Decision.model_validate(content)
    except ValidationError:
        return None


def _decided_first(path: UPath, decision: Decision) -> Decision:
    """This decision after it is kept, or that of another process that decided meanwhile."""
    undecided = list(path.parent.glob("part-?????.parquet")) if path.parent.exists() else []
    if path.exists() and _kept(path) is None:
        path.unlink()
    try:
        create_file(path, _dumped(decision))
    except FileExistsError:
        return _kept(path) or decision
    for part in undecided:
        part.unlink(missing_ok=True)
    return decision


def _dumped(decision: Decision) -> bytes:
    return decision.model_dump_json(indent=1).encode()
