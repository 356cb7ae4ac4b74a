"""Comparison of a store with the landed images: a random sample of sites read from both and compared pixel by pixel.

Checksums only show that stored bytes did not change. This comparison also finds sites that were packed in the wrong
row, from the wrong files or with the wrong order of channels.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
from jaxtyping import Integer
from upath import UPath

from cellassets.images.reader import ExperimentStore
from cellassets.screens.codecs import decode_png
from cellassets.screens.layout import image_path

PLACE = ["plate_id", "well_id", "site_index"]


def differing_sites(
    store: ExperimentStore, images: pl.DataFrame, source: UPath, *, n_sites: int, seed: int
) -> list[str]:
    """Returns the sampled sites whose stored pixels differ from their image files; an empty list where all agree.

    Args:
        store: the packed experiment.
        images: IMAGES table of the manifest that the store was packed from.
        source: landing folder of the experiment.
        n_sites: sites to compare; all of them where the store has fewer.
        seed: seed of the sample.

    Raises:
        ImageError: an image file cannot be decoded.
        CorruptArtifact: a shard of the store is damaged.
    """
    paths = {
        place: rows["path"].to_list()
        for place, rows in images.filter("is_usable").sort("channel_index").group_by(PLACE, maintain_order=True)
    }
    places = store.sites.select(PLACE).rows()
    return [
        "{} {} site {}".format(*places[index])
        for index in _sample(store.n_sites, n_sites, seed)
        if not _is_equal(store, index, source, paths.get(places[index], []))
    ]


def _sample(n_all: int, n_wanted: int, seed: int) -> Iterator[int]:
    chosen: Integer[np.ndarray, " site"] = np.random.default_rng(seed).permutation(n_all)[:n_wanted]
    yield from sorted(chosen.tolist())


def _is_equal(store: ExperimentStore, index: int, source: UPath, paths: list[str]) -> bool:
    stored = store.read([index])[0]
    if len(paths) != len(stored):
        return False
    return all(
        np.array_equal(decode_png(image_path(source, path).read_bytes(), source=path), channel)
        for path, channel in zip(paths, stored, strict=True)
    )
