"""A trained network as an encoder: it normalises as in training, and computes by the backend that it is told to use."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Integer, UInt

from cellassets.encoders.adaptation import SiteReader, sites_to_adapt_to
from cellassets.encoders.batch_norm import adapt_batch_norm
from cellassets.encoders.inference.backend import FAILURES, REFERENCE, Backend, Forward, short
from cellassets.encoders.inference.candidates import candidates, reference
from cellassets.encoders.inference.choice import N_JUDGED, Decision, Trial
from cellassets.encoders.inference.overlap import Uploads, fetched, overlapped
from cellassets.encoders.inference.torch_backends import name_of
from cellassets.errors import EncoderError
from cellassets.images.spec import PIXEL_TYPES
from cellassets.machine import n_cores
from cellassets.training.augmentation import centre_of
from cellassets.training.checkpoint import load_network, read_spec
from cellassets.training.memory import keep_freed_memory
from cellassets.training.normalisation import scale_and_shift
from cellassets.training.recipe import smallest_px

BATCH_SIZE = {"cpu": 16, "cuda": 512}
Rows = Integer[np.ndarray, "site"]
Moments = tuple[Float32[np.ndarray, "all channel"], Float32[np.ndarray, "all channel"]]


class NetworkEncoder:
    """A network from a model folder, on a GPU if there is one.

    It computes in float32 by torch until `compute_in` names another backend. `choose_backend` finds the fastest one
    whose vectors are close enough to those of float32; `precision.py` keeps the choice for later processes.

    Attributes:
        backend: name of the backend that computes.
        n_read_threads: threads that decode images for it.
    """

    pixel_types: tuple[str, ...] = PIXEL_TYPES
    backend = ""
    _prepared: tuple[torch.Size, Forward] | None = None

    def __init__(self, folder: Path) -> None:
        network, self.spec = load_network(folder)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.device == "cpu":
            keep_freed_memory()
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.n_channels, self.trained_channels = self.spec.n_channels, self.spec.channel_names
        self.normalisation = self.spec.preprocessing.normalisation
        self.batch_statistics = self.spec.preprocessing.batch_statistics
        self.batch_size = BATCH_SIZE[self.device]
        self.n_read_threads = n_cores() if self.device == "cuda" else 2
        self._uploads = Uploads(self.device)
        self._reference = reference(self.device)
        self._use(self._reference)

    def embed(
        self,
        images: UInt[np.ndarray, "site channel y x"],
        mean: Float32[np.ndarray, "site channel"],
        std: Float32[np.ndarray, "site channel"],
    ) -> Float32[np.ndarray, "site feature"]:
        """Returns one vector per site.

        Args:
            images: grey levels of 8 or 16 bits.
            mean: mean of each channel, in grey levels.
            std: standard deviation of each channel, in grey levels, at least `min_std` of the images.

        Raises:
            EncoderError: the backend that `compute_in` named cannot compute this network.
        """
        return self._forward(self._normalised(images, mean, std)).cpu().numpy()

    def embed_blocks(
        self, blocks: Iterable[tuple[Rows, UInt[np.ndarray, "site channel y x"]]], moments: Moments
    ) -> Iterator[tuple[Rows, Float32[np.ndarray, "site feature"]]]:
        """Yields the rows of each block and their vectors. On a GPU copies and computation overlap.

        Args:
            blocks: rows of sites and their grey levels, in memory of `empty_images` where that matters.
            moments: mean and standard deviation of each channel, of all sites.
        """
        mean, std = moments
        if self.device == "cpu":
            return ((rows, self.embed(images, mean[rows], std[rows])) for rows, images in blocks)
        return overlapped(
            blocks, lambda rows, images: fetched(self._forward(self._normalised(images, mean[rows], std[rows])))
        )

    def empty_images(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Returns memory to decode images into, from which they reach the device fastest."""
        return self._uploads.empty(shape, dtype)

    def adapt(self, n_sites: int, read: SiteReader) -> None:
        """Takes the statistics of batch normalisation from the sites of an experiment or plate, if the recipe says so.

        Args:
            n_sites: sites of the experiment or plate.
            read: returns images, mean and standard deviation of some sites, as `embed` takes them.

        Raises:
            EncoderError: there is one site only.
        """
        if self.batch_statistics != "trained":
            batches = (self._normalised(*read(rows)) for rows in sites_to_adapt_to(n_sites))
            adapt_batch_norm(self.network, batches)
            self._prepared = None  # a backend may have copied the weights

    def choose_backend(self, n_sites: int, read: SiteReader) -> Decision:
        """Returns the fastest backend whose vectors are those of torch in float32, by measurement on these sites.

        Args:
            n_sites: sites of the table.
            read: returns images, mean and standard deviation of some sites, as `embed` takes them.
        """
        if self.spec.preprocessing.arithmetic == "fp32":
            return Decision(backend=REFERENCE, precision="fp32", refused={"others": "the recipe says arithmetic: fp32"})
        spread = np.unique(np.linspace(0, n_sites - 1, min(n_sites, N_JUDGED)).round().astype(np.int64))
        parts = [spread[at : at + self.batch_size] for at in range(0, len(spread), self.batch_size)]
        trial = Trial(
            network=self.network,
            batch=self._first_batch(n_sites, read),
            judged=lambda: (self._normalised(*read(rows)) for rows in parts),
            n_sites=n_sites,
        )
        return trial.choose(self._reference, candidates(self.device))

    def why_not(self, backend: str, n_sites: int, read: SiteReader) -> str | None:
        """Returns why a backend cannot compute these sites here; None if it computes them from now on."""
        known = self._backends()
        if backend not in known:
            return f"it is none of {', '.join(known)}, which are the backends of this machine's {self.device}"
        absence = known[backend].absence()
        if absence is not None:
            return absence
        self._use(known[backend])
        if backend == REFERENCE:
            return None
        try:
            self._forward(self._first_batch(n_sites, read))
        except FAILURES as error:
            self._use(self._reference)
            return short(error)
        return None

    def compute_in(self, backend: str) -> None:
        """Computes by this backend from now on. `fp32` and `bf16` are those of torch itself.

        Raises:
            EncoderError: there is no such backend for the device.
        """
        known = self._backends()
        name = backend if backend in known else name_of(self.device, backend)
        if name not in known:
            message = f"no backend {backend!r}; on this {self.device} there are {', '.join(known)}"
            raise EncoderError(message)
        self._use(known[name])

    def check_size(self, height: int, width: int) -> None:
        """Checks that sites of this size can be embedded.

        Raises:
            EncoderError: they are smaller than the centre that is embedded, or than the network's smallest image.
        """
        crop_px = self.spec.preprocessing.centre_crop_px
        needed = max(crop_px or 1, smallest_px(self.spec.backbone))
        if min(height, width) < needed:
            what = "centre_crop_px of its recipe" if crop_px == needed else f"its backbone {self.spec.backbone.family}"
            message = (
                f"sites of {height} x {width} pixels are too small: {what} needs at least {needed} x {needed}; use a "
                "model that was trained for smaller images"
            )
            raise EncoderError(message)

    def close(self) -> None:
        """Does nothing: the memory is freed with the encoder."""

    def _backends(self) -> dict[str, Backend]:
        return {one.name: one for one in (self._reference, *candidates(self.device))}

    def _use(self, backend: Backend) -> None:
        if self.backend == backend.name:
            return
        self._backend, self._prepared = backend, None
        self.backend = backend.name
        self.precision: str = backend.precision

    def _first_batch(self, n_sites: int, read: SiteReader) -> Float[torch.Tensor, "site channel h w"]:
        return self._normalised(*read(np.arange(min(self.batch_size, n_sites))))

    def _normalised(
        self,
        images: UInt[np.ndarray, "site channel y x"],
        mean: Float32[np.ndarray, "site channel"],
        std: Float32[np.ndarray, "site channel"],
    ) -> Float[torch.Tensor, "site channel h w"]:
        rows, columns = (centre_of(side, self.spec.preprocessing.centre_crop_px) for side in images.shape[2:])
        on_device = self._uploads(images)[..., rows, columns]  # whole, because that is what is in pinned memory
        scale, shift = (self._uploads(values) for values in scale_and_shift(mean, std))
        layout = torch.channels_last if self._backend.is_channels_last else torch.contiguous_format
        # written in its final order, which takes two thirds of the time of an ordered copy that is changed in place
        found = torch.empty(on_device.shape, dtype=torch.float32, device=self.device, memory_format=layout)
        return torch.addcmul(shift[:, :, None, None], on_device.float(), scale[:, :, None, None], out=found)

    def _forward(self, normalised: Float[torch.Tensor, "site channel h w"]) -> Float[torch.Tensor, "site feature"]:
        return self._prepared_for(normalised)(normalised)

    def _prepared_for(self, batch: Float[torch.Tensor, "site channel h w"]) -> Forward:
        """The backend's function, which is prepared again for images of another size and for larger batches."""
        known = self._prepared
        if known is not None and known[0][1:] == batch.shape[1:] and known[0][0] >= len(batch):
            return known[1]
        try:
            forward = self._backend.prepare(self.network, batch)
        except FAILURES as error:
            message = f"the backend {self.backend} cannot compute this network here: {short(error)}; use {REFERENCE}"
            raise EncoderError(message) from error
        self._prepared = (batch.shape, forward)
        return forward


class ChannelChoosingNetwork(NetworkEncoder):
    """A network that takes some of the channels of an experiment, found by their names."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._positions = list(range(self.n_channels))

    def choose_channels(self, names: tuple[str, ...]) -> None:
        """Finds the network's channels among these.

        Raises:
            EncoderError: a channel is missing.
        """
        missing = [name for name in self.trained_channels if name not in names]
        if missing:
            message = f"channels {', '.join(missing)} not found among {', '.join(names)}: this model needs them"
            raise EncoderError(message)
        self._positions = [names.index(name) for name in self.trained_channels]

    def _normalised(
        self,
        images: UInt[np.ndarray, "site channel y x"],
        mean: Float32[np.ndarray, "site channel"],
        std: Float32[np.ndarray, "site channel"],
    ) -> Float[torch.Tensor, "site own h w"]:
        chosen = self._positions
        return super()._normalised(images[:, chosen], mean[:, chosen], std[:, chosen])


def open_network(folder: Path) -> NetworkEncoder:
    """Returns the network in a model folder.

    Raises:
        RegistryError: a file is missing or damaged.
    """
    chooses = read_spec(folder).preprocessing.chooses_channels
    return ChannelChoosingNetwork(folder) if chooses else NetworkEncoder(folder)
