"""The same sites turned and mirrored: further views, to average what a network says of them (test-time augmentation).

Nothing is random: the views are the eight ways to put a square on itself, in a fixed order. The first view is the site
as it is. Its vectors are those of the published embedding table, and are not computed here.
"""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Integer, UInt

from cellassets.encoders.adaptation import Adaptation
from cellassets.encoders.fitting import check_fit
from cellassets.encoders.moments import moments_of, site_reader
from cellassets.errors import EncoderError
from cellassets.images.reader import ExperimentStore
from cellassets.training.augmentation import centre_crop, turned

if TYPE_CHECKING:
    from cellassets.encoders.network import NetworkEncoder

# (90-degree turns, mirrored or not); the first four keep height and width
VIEWS = ((0, False), (0, True), (2, False), (2, True), (1, False), (1, True), (3, False), (3, True))
N_UPRIGHT = 4

logger = logging.getLogger(__name__)


def further_views(
    images: UInt[np.ndarray, "site channel y x"], n_views: int
) -> Iterator[UInt[np.ndarray, "site channel h w"]]:
    """Yields the second to the last of `n_views` views of images, each in memory of its own."""
    for n_turns, is_flipped in VIEWS[1:n_views]:
        yield np.ascontiguousarray(turned(images, n_turns, is_flipped=is_flipped))


def check_views(n_views: int, height: int, width: int) -> None:
    """Checks that sites can be seen in this number of views.

    Args:
        n_views: views of each site.
        height: of the part of a site that the network sees, in pixels.
        width: the same.

    Raises:
        EncoderError: the number is not 1 to 8, or some views are turned by 90 degrees and the sites are not square.
    """
    if not 1 <= n_views <= len(VIEWS):
        message = (
            f"{n_views} views: expected 1 to {len(VIEWS)}, because a square has {len(VIEWS)} turns and mirror images"
        )
        raise EncoderError(message)
    if n_views > N_UPRIGHT and height != width:
        message = (
            f"sites of {height} x {width} pixels cannot be turned by 90 degrees, as {n_views} views need: ask for at "
            f"most {N_UPRIGHT} views"
        )
        raise EncoderError(message)


def embed_views(
    store: ExperimentStore,
    encoder: "NetworkEncoder",
    rows: Integer[np.ndarray, "site"],
    *,
    n_views: int,
    model_key: str,
    backend: str | None = None,
) -> Iterator[list[Float32[np.ndarray, "block feature"]]]:
    """Yields the vectors of the second to last views of sites, block by block in their order. Each site is read once.

    Args:
        store: the experiment's sites.
        encoder: a trained network.
        rows: rows of `store.sites`.
        n_views: views of each site, the first of which is left out.
        model_key: the model, for messages.
        backend: what computed the published vectors; it computes these too if this machine has it, otherwise torch
            in float32 does.

    Raises:
        EncoderError: the encoder does not fit the experiment, or the sites cannot be seen in this number of views.
        CorruptArtifact: a shard of the store is damaged.
    """
    check_fit(encoder, store, model_key)
    crop_px = encoder.spec.preprocessing.centre_crop_px
    check_views(n_views, *(side if crop_px is None else min(side, crop_px) for side in (store.height, store.width)))
    mean, std = moments = moments_of(store, encoder)
    read = site_reader(store, moments)
    adaptation = Adaptation(encoder, store.sites["plate_id"].to_numpy(), read)
    adaptation.begin()
    reason = None if backend is None else encoder.why_not(backend, store.n_sites, read)
    if reason is not None:
        logger.warning(
            "model %s, experiment %s: its vectors were computed by %s, which cannot be used here (%s); %s computes the "
            "further views",
            *(model_key, store.experiment_id, backend, reason, encoder.backend),
        )
    for alike in adaptation.parts(rows):
        for block, images in store.blocks(encoder.batch_size, indices=alike, n_threads=encoder.n_read_threads):
            views = further_views(centre_crop(images, crop_px), n_views)
            yield [encoder.embed(view, mean[block], std[block]) for view in views]
