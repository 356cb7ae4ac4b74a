"""Batches of images in the order of `sampling.py`, augmented, and read ahead by threads.

The sites of a batch and their augmentation depend only on (seed, epoch, batch), so an epoch is the same in every
process, and a killed run can continue exactly. Where several processes train together, each of them draws the whole
batch and reads its own share. Pixels stay integers of 8 or 16 bits until they are on the device.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt

from cellassets.training.augmentation import Draws, centre_crop, crop_turn_flip, draw
from cellassets.training.extras import Extras
from cellassets.training.recipe import AugmentationParameters
from cellassets.training.sampling import CLASS_BALANCED, Order
from cellassets.training.sharing import WHOLE, Share
from cellassets.training.sites import LabelledSites

N_AHEAD = 4

ImageReader = Callable[[Int[np.ndarray, "b"]], UInt[np.ndarray, "b c y x"]]
Item = TypeVar("Item")


def _ignore_wait(seconds: float) -> None:
    pass


class Batch(NamedTuple):
    """One batch. `scale * image + shift` normalises the images and includes the random gain and offset.

    `partner` and `own_share` say how images are mixed (`augmentation.draw_mix`); None if they are not. Then the first
    images are those of the batch, and any others are only mixed into them. Objectives without labels have further crops
    of the same sites in `views`, or hide the patches in `is_hidden`, row by row.
    """

    images: UInt[torch.Tensor, "b c y x"]
    scale: Float[torch.Tensor, "b c"]
    shift: Float[torch.Tensor, "b c"]
    labels: Int[torch.Tensor, "b"]
    store_index: Int[torch.Tensor, "b"]
    partner: Int[torch.Tensor, "own"] | None = None
    own_share: Float[torch.Tensor, "own 1 y x"] | None = None
    views: tuple["Batch", ...] = ()
    is_hidden: Bool[torch.Tensor, "b patch"] | None = None

    @property
    def n_sites(self) -> int:
        """Number of images that are trained on."""
        return len(self.labels if self.own_share is None else self.own_share)


def normalised(batch: Batch) -> Float[torch.Tensor, "b c y x"]:
    """Returns the normalised images of a batch as float32: scale * image + shift, for each channel."""
    images = batch.images.to(torch.float32, memory_format=torch.channels_last)
    return torch.addcmul(batch.shift[:, :, None, None], images, batch.scale[:, :, None, None])


@dataclass(frozen=True)
class TrainBatches:
    """One epoch of augmented training batches, or a share of each of them.

    Partners that images are mixed with may be in the share of another process; they are read too.
    """

    sites: LabelledSites
    read: ImageReader
    augmentation: AugmentationParameters
    batch_size: int
    seed: int
    epoch: int
    n_threads: int = 2
    on_wait: Callable[[float], None] = _ignore_wait
    order: Order = CLASS_BALANCED
    extras: Extras | None = None
    share: Share = WHOLE

    def __len__(self) -> int:
        return self.order.n_batches(self.sites, self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        generator = np.random.default_rng([self.seed, self.epoch])
        order = self.order.batches(self.sites, self.batch_size, generator)
        tasks = [partial(self._batch, i, positions) for i, positions in enumerate(order)]
        return read_ahead(tasks, self.n_threads, on_wait=self.on_wait)

    def _batch(self, index: int, positions: Int[np.ndarray, "b"]) -> Batch:
        generator = np.random.default_rng([self.seed, self.epoch, index])
        own = np.arange(len(positions))[self.share.of(len(positions))]
        images = self.read(positions[own])
        batch = self._view(images, positions, generator, self.augmentation, own)
        if self.extras is None:  # what is newer is drawn later
            return batch
        views = self.extras.views(*images.shape[2:])
        batch = batch._replace(views=tuple(self._view(images, positions, generator, one, own) for one in views))
        is_hidden = self.extras.hidden(generator, len(images), *batch.images.shape[2:])
        return batch if is_hidden is None else batch._replace(is_hidden=torch.from_numpy(is_hidden))

    def _view(
        self,
        images: UInt[np.ndarray, "own c y x"],
        positions: Int[np.ndarray, "b"],
        generator: np.random.Generator,
        augmentation: AugmentationParameters,
        own: Int[np.ndarray, "own"],
    ) -> Batch:
        """One crop of every site of the own share."""
        draws = draw(generator, len(positions), parameters=augmentation, site_shape=images.shape[1:])
        if self.share.n > 1 and draws.partner is not None:
            images = np.concatenate([images, self.read(positions[draws.partner[own]])])
        positions, draws = self._shared(positions, draws, own)
        scale = self.sites.scale[positions] * draws.gain
        shift = self.sites.shift[positions] * draws.gain + draws.offset
        if draws.is_kept is not None:  # a normalised channel has the mean 0
            scale, shift = scale * draws.is_kept, shift * draws.is_kept
        batch = _batch(self.sites, positions, crop_turn_flip(images, draws), (scale, shift))
        if draws.partner is None or draws.own_share is None:
            return batch
        return batch._replace(partner=torch.from_numpy(draws.partner), own_share=torch.from_numpy(draws.own_share))

    def _shared(
        self, positions: Int[np.ndarray, "b"], draws: Draws, own: Int[np.ndarray, "own"]
    ) -> tuple[Int[np.ndarray, "some"], Draws]:
        """Sites and random numbers of the own share, with the partners behind it."""
        if self.share.n == 1:
            return positions, draws
        if draws.partner is None or draws.own_share is None:
            return positions[own], draws.of(own)
        rows = np.concatenate([own, draws.partner[own]])
        partner = len(own) + np.arange(len(own))
        return positions[rows], replace(draws.of(rows), partner=partner, own_share=draws.own_share[own])


@dataclass(frozen=True)
class ValidationBatches:
    """All held-out sites, each once and without augmentation, or a share of them."""

    sites: LabelledSites
    read: ImageReader
    centre_crop_px: int | None
    batch_size: int
    n_threads: int = 2
    share: Share = WHOLE

    def __len__(self) -> int:
        return len(self.share.blocks(self.sites.n_sites, self.batch_size))

    def __iter__(self) -> Iterator[Batch]:
        blocks = self.share.blocks(self.sites.n_sites, self.batch_size)
        return read_ahead([partial(self._batch, block) for block in blocks], self.n_threads)

    def _batch(self, positions: Int[np.ndarray, "b"]) -> Batch:
        images = np.ascontiguousarray(centre_crop(self.read(positions), self.centre_crop_px))
        return _batch(self.sites, positions, images, (self.sites.scale[positions], self.sites.shift[positions]))


def read_ahead(
    tasks: Sequence[Callable[[], Item]],
    n_threads: int,
    n_ahead: int = N_AHEAD,
    *,
    on_wait: Callable[[float], None] = _ignore_wait,
) -> Iterator[Item]:
    """Yields the results of the tasks in order, while threads work on the next `n_ahead` tasks.

    Decoding releases the interpreter's lock, so threads are as fast as worker processes and need no copies of images.

    Args:
        tasks: functions that return one result each.
        n_threads: threads that call them.
        n_ahead: tasks that are begun before their result is asked for.
        on_wait: receives for each result how long it was waited for, in seconds.
    """
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="batches")
    waiting: deque[Future[Item]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(task))
            if len(waiting) > n_ahead:
                yield _timed(waiting.popleft(), on_wait)
        while waiting:
            yield _timed(waiting.popleft(), on_wait)
    finally:
        pool.shutdown(cancel_futures=True)


def _timed(result: Future[Item], on_wait: Callable[[float], None]) -> Item:
    started_s = time.monotonic()
    try:
        return result.result()
    finally:
        on_wait(time.monotonic() - started_s)


def _from_here(images: UInt[np.ndarray, "b c y x"]) -> UInt[torch.Tensor, "b c y x"]:
    """The images as a tensor, for a GPU in pinned memory: the copy to it does not hold up the process."""
    here = torch.from_numpy(images)
    return here.pin_memory() if torch.cuda.is_available() else here


def _batch(
    sites: LabelledSites,
    positions: Int[np.ndarray, "b"],
    images: UInt[np.ndarray, "b c y x"],
    scale_shift: tuple[Float[np.ndarray, "b c"], Float[np.ndarray, "b c"]],
) -> Batch:
    return Batch(
        images=_from_here(images),
        scale=torch.from_numpy(scale_shift[0]),
        shift=torch.from_numpy(scale_shift[1]),
        labels=torch.from_numpy(sites.labels[positions]),
        store_index=torch.from_numpy(sites.store_index[positions]),
    )
