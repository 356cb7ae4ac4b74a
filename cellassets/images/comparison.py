"""Comparison of a store with the landed images: a random sample of sites read from both and compared pixel by pixel.

Checksums only show that stored bytes did not change. This comparison also finds sites that were packed in the wrong
row, from the wrong files or with the wrong order of channels.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
from jaxtyping import Integer
from upath import UPath

from cellassets.images.illumination import correction_of
from cellassets.images.plates import source_plates
from cellassets.images.reader import ExperimentStore
from cellassets.images.store_spec import StoreSpec
from cellassets.images.writer import SourceSite, read_projected, read_unchecked

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
    sources = {
        (plate.spec.plate_id, site.well_id, site.site_index): site
        for plate in source_plates(images.filter("is_usable"), StoreSpec())
        for site in plate.sites
    }
    places = store.sites.select(PLACE).rows()
    return [
        "{} {} site {}".format(*places[index])
        for index in _sample(store.n_sites, n_sites, seed)
        if not _is_equal(store, index, source, places[index][0], sources.get(places[index]))
    ]


def _sample(n_all: int, n_wanted: int, seed: int) -> Iterator[int]:
    chosen: Integer[np.ndarray, " site"] = np.random.default_rng(seed).permutation(n_all)[:n_wanted]
    yield from sorted(chosen.tolist())


def _is_equal(store: ExperimentStore, index: int, source: UPath, plate_id: str, site: SourceSite | None) -> bool:
    stored = store.read([index])[0]
    if site is None or len(site.images) != len(stored):
        return False
    landed = np.empty_like(stored)
    correct = correction_of(source, plate_id, store.imaging)
    for channel, planes in enumerate(site.images):
        read_projected(source, planes, store.imaging.z_projection, out=landed[channel], read=read_unchecked)
        correct(channel, landed[channel])
    return np.array_equal(landed, stored)
