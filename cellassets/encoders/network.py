"""A trained network as an encoder: it normalises as in training, and computes in bf16 where that is faster."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt

from cellassets.encoders.adaptation import SiteReader, sites_to_adapt_to
from cellassets.encoders.batch_norm import adapt_batch_norm
from cellassets.encoders.precision import N_JUDGED
from cellassets.errors import EncoderError
from cellassets.images.spec import PIXEL_TYPES
from cellassets.training.augmentation import centre_crop
from cellassets.training.checkpoint import load_network, read_spec
from cellassets.training.memory import keep_freed_memory
from cellassets.training.normalisation import scale_and_shift
from cellassets.training.recipe import smallest_px

MIN_COSINE = 0.99
BATCH_SIZE = {"cpu": 16, "cuda": 512}


class NetworkEncoder:
    """A network from a model folder, on a GPU if there is one.

    It computes in bf16 if the device has units for bf16 and the vectors barely change: after the mean is subtracted,
    the vector of each of the first 16 sites must have a cosine of at least 0.99 with its float32 vector. The decision
    depends on the machine and on these sites only, never on timing. `precision.py` keeps it for later processes.
    """

    pixel_types: tuple[str, ...] = PIXEL_TYPES

    def __init__(self, folder: Path) -> None:
        network, self.spec = load_network(folder)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.device == "cpu":
            keep_freed_memory()
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.n_channels, self.trained_channels = self.spec.n_channels, self.spec.channel_names
        self.normalisation = self.spec.preprocessing.normalisation
        self.batch_size = BATCH_SIZE[self.device]
        self.precision = "fp32"
        self._is_judged = not gains_by_bf16(self.device)

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
        """
        normalised = self._normalised(images, mean, std)
        if not self._is_judged:
            self._judge_bf16(normalised)
        return self._forward(normalised, self.precision).cpu().numpy()

    def adapt(self, n_sites: int, read: SiteReader) -> None:
        """Takes the statistics of batch normalisation from the sites of an experiment, if the recipe says so.

        Args:
            n_sites: sites of the experiment.
            read: returns images, mean and standard deviation of some sites, as `embed` takes them.

        Raises:
            EncoderError: the experiment has one site only.
        """
        if self.spec.preprocessing.batch_statistics == "experiment":
            batches = (self._normalised(*read(rows)) for rows in sites_to_adapt_to(n_sites))
            adapt_batch_norm(self.network, batches)

    def choose_precision(
        self,
        images: UInt[np.ndarray, "site channel y x"],
        mean: Float32[np.ndarray, "site channel"],
        std: Float32[np.ndarray, "site channel"],
    ) -> str:
        """Returns bf16 if it is faster on this machine and barely changes the vectors of these sites, else fp32."""
        if not self._is_judged:
            self._judge_bf16(self._normalised(images, mean, std))
        return self.precision

    def compute_in(self, precision: str) -> None:
        """Computes in this precision from now on, whatever this machine would choose."""
        self.precision, self._is_judged = precision, True

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

    def _normalised(
        self,
        images: UInt[np.ndarray, "site channel y x"],
        mean: Float32[np.ndarray, "site channel"],
        std: Float32[np.ndarray, "site channel"],
    ) -> Float[torch.Tensor, "site channel h w"]:
        pixels = np.ascontiguousarray(centre_crop(images, self.spec.preprocessing.centre_crop_px))
        scale, shift = (torch.from_numpy(values).to(self.device) for values in scale_and_shift(mean, std))
        on_device = torch.from_numpy(pixels).to(self.device)
        as_float = on_device.to(torch.float32, memory_format=torch.channels_last)
        return torch.addcmul(shift[:, :, None, None], as_float, scale[:, :, None, None], out=as_float)

    def _forward(self, normalised: Float[torch.Tensor, "site channel h w"], precision: str) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=precision == "bf16"):
            return self.network(normalised).float()

    def _judge_bf16(self, normalised: Float[torch.Tensor, "site channel h w"]) -> None:
        exact, fast = (self._forward(normalised[:N_JUDGED], precision) for precision in ("fp32", "bf16"))
        if min_centred_cosine(exact.cpu().numpy(), fast.cpu().numpy()) >= MIN_COSINE:
            self.precision = "bf16"
        self._is_judged = True


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


def gains_by_bf16(device: str) -> bool:
    """Returns whether a device has units for bf16: a GPU from Ampere on, or a CPU with AMX or AVX-512 BF16."""
    if device == "cuda":
        return torch.cuda.get_device_capability()[0] >= 8
    # torch has no public names for these
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())  # noqa: SLF001


def min_centred_cosine(a: Float[np.ndarray, "site feature"], b: Float[np.ndarray, "site feature"]) -> float:
    """Returns the smallest cosine between corresponding rows after subtracting the mean of `a`; 1 for a single row."""
    if len(a) < 2:
        return 1.0
    left, right = a - a.mean(axis=0), b - a.mean(axis=0)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(np.min(np.sum(left * right, axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)))
