"""Embeds the sites of a store in parts: from images to SITE_EMBEDDINGS tables.

A part is written as a whole and never replaced: of two runs that embed the same sites, the first one's part stays. All
parts are computed by the same backend (`precision.py`).
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float32, Integer
from upath import UPath

from cellassets.encoders.adaptation import Adaptation
from cellassets.encoders.container.encoder import ContainerEncoder
from cellassets.encoders.fitting import check_fit
from cellassets.encoders.inference.choice import Decision
from cellassets.encoders.loading import AnyEncoder, EmbedsBlocks, SetUpPerExperiment
from cellassets.encoders.moments import moments_of, site_reader
from cellassets.encoders.precision import name_of_part, settle_backend
from cellassets.encoders.profiles import ProfilesEncoder
from cellassets.encoders.summary import SiteEmbeddingsSummary
from cellassets.errors import EncoderError, SchemaError
from cellassets.images.reader import ExperimentStore
from cellassets.progress import Progress, no_progress
from cellassets.tables.parquet import read_table, vectors, with_vectors, write_new_table
from cellassets.tables.schemas import SITE_EMBEDDINGS

SITES_PER_PART = 2048
KEY = ["experiment_id", "plate_id", "well_id", "site_index"]


@dataclass(frozen=True)
class Embedded:
    """The parts of an embedding table, in order, and its summary."""

    names: list[str]
    summary: SiteEmbeddingsSummary


def embed_store(
    store: ExperimentStore,
    encoder: AnyEncoder,
    folder: UPath,
    *,
    model_key: str,
    sites_per_part: int = SITES_PER_PART,
    progress: Progress = no_progress,
) -> Embedded:
    """Returns the names of the parts in `folder`, after making those that are not there.

    Args:
        store: the experiment's sites.
        encoder: from images, or from a table of profiles, to vectors.
        folder: where the parts are written, SITE_EMBEDDINGS tables in Parquet.
        model_key: name of the model in the tables.
        sites_per_part: rows per part; a run that was cut off loses at most one part. The parts of a container encoder
            are not larger than its batches.
        progress: receives the number of sites embedded.

    Raises:
        EncoderError: the encoder was made for other channels, for pixels of another type or for larger images, a vector
            is not finite, or the process of a container encoder failed; names the site.
        ProfilesError: a table of profiles lacks the experiment, or wells or sites of it.
        CorruptArtifact: a shard of the store is damaged.
    """
    if isinstance(encoder, ContainerEncoder):
        sites_per_part = min(sites_per_part, encoder.batch_size)
    chosen = _sites_to_embed(store, encoder, model_key)
    parts = [chosen[start : start + sites_per_part] for start in range(0, len(chosen), sites_per_part)]
    if isinstance(encoder, SetUpPerExperiment):
        encoder.set_up(store)
    embedding = _Embedding(store, encoder, model_key, progress)
    embedding.adapt()
    decision = settle_backend(encoder, store, folder, (embedding.mean, embedding.std), model_key=model_key)
    names = [name_of_part(number, encoder) for number in range(len(parts))]
    missing = [number for number, name in enumerate(names) if not _is_made(folder / name, store, parts[number])]
    for number in missing:
        write_new_table(embedding.part(parts[number]), folder / names[number], SITE_EMBEDDINGS)
    first = read_table(folder / names[0], SITE_EMBEDDINGS)
    summary = SiteEmbeddingsSummary(
        n_sites=len(chosen),
        embedding_dim=int(vectors(first).shape[1]),
        sites_per_s=embedding.sites_per_s,
        precision=encoder.precision,
        device=encoder.device,
        **_how(decision),
        n_parts=len(parts),
        n_parts_resumed=len(parts) - len(missing),
    )
    return Embedded(names, summary)


def _how(decision: Decision | None) -> dict[str, Any]:
    """What the summary says about the backend."""
    if decision is None:
        return {}
    return {
        "backend": decision.backend,
        "speed_ratio": decision.speed_ratio,
        "min_cosine": decision.min_cosine,
        "refused_backends": "; ".join(f"{name}: {why}" for name, why in decision.refused.items()) or None,
    }


def _sites_to_embed(store: ExperimentStore, encoder: AnyEncoder, model_key: str) -> Integer[np.ndarray, "site"]:
    """The rows of `store.sites` that the encoder gives a vector, after the check that it can."""
    if isinstance(encoder, ProfilesEncoder):
        return encoder.present(store, model_key)
    check_fit(encoder, store, model_key)
    return np.arange(store.n_sites)


class _Embedding:
    """Embeds parts of one experiment and counts how long that takes."""

    def __init__(self, store: ExperimentStore, encoder: AnyEncoder, model_key: str, progress: Progress) -> None:
        self.store = store
        self.encoder = encoder
        self.model_key = model_key
        self.progress = progress
        self.mean, self.std = moments_of(store, encoder)
        self.n_done, self.seconds = 0, 0.0
        self._adaptation = Adaptation(
            encoder, store.sites["plate_id"].to_numpy(), site_reader(store, (self.mean, self.std))
        )

    def adapt(self) -> None:
        """Adapts an encoder that needs it to the sites of the experiment, or of its first plate."""
        self._adaptation.begin()

    @property
    def sites_per_s(self) -> float | None:
        """Sites a second, reading included; None where nothing was left to do."""
        return self.n_done / self.seconds if self.seconds else None

    def part(self, indices: Integer[np.ndarray, "site"]) -> pl.DataFrame:
        """Returns the SITE_EMBEDDINGS rows of some sites."""
        started, blocks = time.perf_counter(), []
        for alike in self._adaptation.parts(indices):
            for rows, embedded in self._blocks(alike):
                self._check_finite(rows, embedded)
                blocks.append(embedded)
                self.n_done += len(rows)
                self.progress(self.n_done, self.store.n_sites, f"sites embedded by {self.model_key}")
        self.seconds += time.perf_counter() - started
        labels = self.store.sites[indices].select(KEY).with_columns(pl.lit(self.model_key).alias("model_key"))
        return with_vectors(labels, np.concatenate(blocks))

    def _blocks(
        self, indices: Integer[np.ndarray, "site"]
    ) -> Iterator[tuple[Integer[np.ndarray, "block"], Float32[np.ndarray, "block feature"]]]:
        """Yields rows and their vectors: block by block, or all at once where no image is decoded here."""
        if isinstance(self.encoder, ContainerEncoder):
            moments = (self.mean[indices], self.std[indices])
            yield indices, self.encoder.embed_sites(self.store, indices, moments, self.model_key)
            return
        if isinstance(self.encoder, ProfilesEncoder):
            yield indices, self.encoder.vectors_of(self.store, indices)
            return
        if isinstance(self.encoder, EmbedsBlocks):
            blocks = self.store.blocks(
                self.encoder.batch_size,
                indices=indices,
                n_threads=self.encoder.n_read_threads,
                empty=self.encoder.empty_images,
            )
            yield from self.encoder.embed_blocks(blocks, (self.mean, self.std))
            return
        for rows, images in self.store.blocks(self.encoder.batch_size, indices=indices):
            yield rows, self.encoder.embed(images, self.mean[rows], self.std[rows])

    def _check_finite(self, rows: Integer[np.ndarray, "site"], embedded: Float32[np.ndarray, "site feature"]) -> None:
        is_bad = ~np.isfinite(embedded).all(axis=1)
        if is_bad.any():
            place = self.store.sites.row(int(rows[is_bad][0]), named=True)
            message = (
                f"model {self.model_key}: the vector of {place['experiment_id']} {place['plate_id']} "
                f"{place['well_id']} site {place['site_index']} is not finite ({is_bad.sum()} such sites in its batch)"
            )
            raise EncoderError(message)


def _is_made(path: UPath, store: ExperimentStore, indices: Integer[np.ndarray, "site"]) -> bool:
    """True where an earlier run made this part: it can be read and has these sites in this order."""
    if not path.exists():
        return False
    try:
        is_whole = read_table(path, SITE_EMBEDDINGS).select(KEY).equals(store.sites[indices].select(KEY))
    except SchemaError:
        is_whole = False
    if not is_whole:
        path.unlink(missing_ok=True)  # a part that is there is never replaced, so a useless one has to go
    return is_whole
